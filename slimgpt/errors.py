"""The engine's exceptions: `SlimGPTError` with a code, a message and a hint.

Every expected failure of the engine is a `SlimGPTError`: a stable `code` for programs, a message
that says what is wrong and where, and a `hint` that says what to do next. Any other exception of
the engine is a bug.
"""

from __future__ import annotations


class SlimGPTError(Exception):
    """An expected failure: invalid input, a missing resource, a numerical failure.

    Args:
        message: what is wrong and where, in one sentence.
        hint: what the user can do about it.
    """

    code = "engine-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class SpecError(SlimGPTError):
    """The job's specification is not valid."""

    code = "invalid-spec"


class ModelNotFoundError(SlimGPTError):
    """The model folder or hub repository does not exist or cannot be read."""

    code = "model-not-found"


class UnsupportedModelError(SlimGPTError):
    """The model has a family, format or precision that is not supported."""

    code = "unsupported-model"


class BrokenCheckpointError(SlimGPTError):
    """The checkpoint folder is incomplete: files are missing, truncated or inconsistent."""

    code = "broken-checkpoint"


class UnreachableTargetError(SlimGPTError):
    """No plan meets the requested parameter target."""

    code = "unreachable-target"


class CalibrationError(SlimGPTError):
    """The calibration or evaluation text cannot be read or is too short."""

    code = "calibration-error"


class NumericalError(SlimGPTError):
    """A factorisation failed at every damping tried, or a value is not finite."""

    code = "numerical-error"


class StorageError(SlimGPTError):
    """The disk is full or the output cannot be written."""

    code = "storage-error"


class ResumeError(SlimGPTError):
    """The working folder belongs to another job or cannot be used."""

    code = "resume-error"


class VerificationError(SlimGPTError):
    """The written checkpoint does not load, or differs from the model in memory."""

    code = "verification-failed"


class MemoryExhaustedError(SlimGPTError):
    """The device or the host has too little memory for the job."""

    code = "out-of-memory"


class RankError(SlimGPTError):
    """A process of a job on several devices has ended, or does not answer."""

    code = "device-lost"


class HubUnreachableError(SlimGPTError):
    """The hub cannot be reached or does not answer; a retry may succeed."""

    code = "hub-unreachable"
