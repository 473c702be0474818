"""What commands answer, and the options of a usual edit."""

YOUNG = ("--attribute", "Young", "--scale", "-0.8")


def refused(result, *words):
    """One sentence on stderr, exit code 2."""
    code, out, err = result
    assert (code, out) == (2, ""), err
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].endswith((".", "?")) and "Traceback" not in err, err
    assert all(word in err for word in words), err
