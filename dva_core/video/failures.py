"""Errors of FFmpeg and the system as DVAErrors: one sentence with the cause and what to do."""

from __future__ import annotations

import errno
from pathlib import Path

import av
import av.error

from ..errors import DVAError, MissingFileError, one_line

FFMPEG_NUMBERS = 1 << 16  # FFmpeg's own error numbers lie above, the system's below


def write_error(error: Exception, path: Path) -> DVAError:
    """One sentence for a failure to write to `path`."""
    parent = path.absolute().parent
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DVAError(f"The disk is full: {path} could not be written; free some space in {parent} and start again.")
    if number == errno.EFBIG:
        return DVAError(f"{path} is larger than its disk or your limits let a file be; choose another disk, or write a shorter video.")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DVAError(f"The folder {parent} may not be written to; choose another one or change its permissions.")
    if number == errno.ENOENT and not parent.is_dir():
        return DVAError(f"{path} could not be written, for its folder is gone; make {parent} again, or choose another one.")
    if number == errno.ENAMETOOLONG:
        return DVAError(f"The name {path.name[:40]}... is too long for its disk; choose a shorter one.")
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return DVAError(f"There is too little memory to encode {path}; close other programs, or write a smaller picture.")
    if isinstance(error, OverflowError):
        return DVAError(f"{path} could not be written: its frame rate or times are too fine or too large to count; choose another rate.")
    if of_ffmpeg(error):
        cure = "choose another codec (h264, ffv1 in .mkv, png), or convert the source first"
        return DVAError(f"FFmpeg cannot encode these pictures or this sound as {path.name} ({error_text(error)}); {cure}.")
    return DVAError(f"{path} could not be written ({error_text(error)}); check that its disk is still there and whole.")


def read_error(error: Exception, path: Path) -> DVAError:
    """One sentence for a failure to open `path` as a video."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return DVAError(f"{path} may not be read; change its permissions.")
    if number == errno.ENOENT:
        return MissingFileError(f"There is no file {path}; check the path.")
    if of_ffmpeg(error):
        return DVAError(f"{path} is not a video that can be opened, or is cut short ({error_text(error)}); convert it anew.")
    return DVAError(f"{path} cannot be read ({error_text(error)}); check that its disk is still there and whole.")


def of_ffmpeg(error: Exception) -> bool:
    """Whether an error is about FFmpeg's input or settings (its own codes, EINVAL, PyAV's ValueError), not about the disk or memory."""
    if not isinstance(error, av.error.FFmpegError):
        return isinstance(error, ValueError | DVAError)
    return error.errno in (errno.EINVAL, errno.ENOSYS, errno.ERANGE) or error.errno > FFMPEG_NUMBERS


def error_text(error: Exception) -> str:
    """The message of an error as one line; FFmpeg's log line if there is one."""
    words = getattr(error, "log", None)  # (level, who, what); None unless the program that uses PyAV has asked for logs
    return words[2].strip().rstrip(".") if words else getattr(error, "strerror", None) or one_line(error)
