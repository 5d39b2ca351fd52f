"""`Run`: the engine in this process, with a output and a result folder."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cli.engine.workdir import Workdir
from cli.terminal.ctrl_c import CtrlC
from cli.terminal.event_output import EventOutput
from cli.terminal.summary import Measured, show_summary
from jobs.messages.expectation import expectations
from slimgpt.errors import SlimGPTError, StorageError
from slimgpt.events import Event, LayerFinished, Result, StageStarted
from slimgpt.spec.prune import PruneSpec


@dataclass(frozen=True)
class Run:
    """A specification with the roots and the device of this machine."""

    spec: PruneSpec
    models_root: Path
    texts_root: Path
    device: str

    def into(self, workdir: Workdir, output: EventOutput, console: Console | None) -> None:
        """Run the engine, show its events, publish the result, and show a summary.

        Args:
            console: where the summary goes; None: the result's event is shown instead.

        Raises:
            SlimGPTError: the job cannot be done; says whether it can be resumed.
            KeyboardInterrupt: as before, with what to do next shown.
        """
        result, measured = self._run(workdir, output)
        if console is None:
            output.show(result)
        else:
            show_summary(console, result, measured)

    def _run(self, workdir: Workdir, output: EventOutput) -> tuple[Result, list[Measured]]:
        """The result, which names the published folder, and what was measured.

        Raises:
            SlimGPTError: the job cannot be done; says whether it can be resumed.
            KeyboardInterrupt: as before, with what to do next shown.
        """
        measured: list[Measured] = []
        result: Result | None = None
        try:
            output.expect(expectations(self.spec, publishes=False))
            with CtrlC() as ctrl_c, output:
                for event in self._events(workdir):
                    ctrl_c.raise_if_pressed()
                    if isinstance(event, Result):
                        result = event
                        continue
                    if isinstance(event, LayerFinished):
                        workdir.keep()
                    elif isinstance(event, Measured):
                        measured.append(event)
                    output.show(event)
            if result is None:
                raise StorageError("the engine ended without a result", hint="this is a defect")
            workdir.publish(result.checkpoint)
        except SlimGPTError as error:
            error.hint = "; ".join(filter(None, (error.hint, workdir.left_behind())))
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt(workdir.left_behind()) from None
        finally:
            workdir.discard_unless_kept()
        return result.model_copy(update={"checkpoint": str(workdir.out)}), measured

    def _events(self, workdir: Workdir) -> Iterator[Event]:
        from slimgpt.sources import hub_check
        from slimgpt.sources.roots import Roots

        began = time.time()
        yield StageStarted(stage="start")
        hub_check.require(self.spec)  # before torch is loaded, which takes longer
        from slimgpt.machine import launch
        from slimgpt.texts.tokenization import sandbox

        sandbox.start()  # it imports its libraries meanwhile
        yield from launch.imports()
        from slimgpt.pipeline import run

        roots = Roots(models=self.models_root, texts=self.texts_root, confined=False)
        yield from run(
            self.spec,
            workdir.path,
            roots,
            self.device,
            resume=workdir.resumed,
            launch=launch.Launch(began, command_line()),
        )


def command_line() -> str:
    """This command, as one would type it again; the home folder as `~`."""
    command = shlex.join(["slimgpt", *sys.argv[1:]])
    return command.replace(f"{Path.home()}/", "~/")
