"""Networks of the method: the published architectures and the small ones of the starter model."""
