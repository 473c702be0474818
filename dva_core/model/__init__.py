"""The autoencoder and its file: building, loading, checking, converting, evaluating."""
