"""The steps of a recipe, one after the other."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from types import FrameType

from common.recipes.commands import Command, Commands
from common.recipes.schema import DryRun, Step, part_of

_PATIENCE_SECONDS = 30.0
_LEAST_MINUTES = 1.0  # of all trainings together
TIME_IS_UP = 124
"""Exit code where the minutes of a run are over before its last step is; that of ``timeout``."""


class _Stopped(Exception):
    """SIGTERM has arrived."""


def run(commands: Commands) -> int:
    """Do what was asked for, with commands that have been checked.

    Returns:
        0, or the exit code of the command that failed (128 + N where signal N ended it), 124 where the
        recipe's minutes are over, 130 after Ctrl-C and 143 after SIGTERM. The command that was running has
        ended then, too.
    """
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        return _Run(commands).all_steps()
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 128 + signal.SIGINT
    except _Stopped:
        return 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


class _Run:
    def __init__(self, commands: Commands) -> None:
        self.commands, self.recipe = commands, commands.recipe
        self.steps = commands.selected()
        self.started = float(commands.values.get("started") or time.time())
        dry_run = commands.request.dry_run
        self.only_print = dry_run and self.recipe.dry_run is DryRun.commands
        self.plans = dry_run and not self.only_print

    def all_steps(self) -> int:
        part = ""
        for number, (name, step) in enumerate(self.steps.items()):
            if self.commands.finished(name):
                continue
            if part_of(name, step) != part:
                part = part_of(name, step)
                print(f"== {part}", file=sys.stderr, flush=True)
            minutes = self._minutes(name, step)
            self._say(step, minutes)
            for command in self.commands.of(name, minutes, self.plans):
                code = self._one(command)
                if code == TIME_IS_UP and self._over():
                    print(f"The {self._most():g} minutes are over: {part} was ended.", file=sys.stderr)
                    return code
                if code and self.plans and number and self.recipe.dry_run is DryRun.plans_so_far:
                    print(f"(the steps from {name} on need what earlier ones make)", file=sys.stderr)
                    return 0
                if code:
                    print(f"The {self.recipe.part_word} {part} failed, see above.", file=sys.stderr)
                    return code
            if self.only_print:  # as if it had been run
                self.started -= 60 * (minutes + self._takes(step))
        return 0

    def _one(self, command: Command) -> int:
        if self.only_print:
            print(shlex.join(command.words), flush=True)
            return 0
        if self._over():
            return TIME_IS_UP
        process = subprocess.Popen(command.words, env={**os.environ, **command.environment})
        try:
            code = process.wait(self._left_seconds())
        except subprocess.TimeoutExpired:
            process.terminate()
            _end(process)
            return TIME_IS_UP
        except KeyboardInterrupt:
            # A terminal has told the command as well; where only this process was told, it is made to end.
            _end(process)
            raise
        except _Stopped:
            process.terminate()
            _end(process)
            raise
        return code if code >= 0 else 128 - code

    def _minutes(self, name: str, step: Step) -> float:
        """For how long a training may go on."""
        if not step.share:
            return step.minutes * float(self.commands.values.get("scale", 1.0))
        later = list(self.steps.values())[list(self.steps).index(name) :]
        budget = float(self.commands.values["minutes"])
        left = budget - self._gone() - sum(map(self._takes, later))
        shares = sum(other.share for other in later)
        least = _LEAST_MINUTES * shares / sum(other.share for other in self.steps.values())
        return max(least, left) * step.share / shares

    def _takes(self, step: Step) -> float:
        return step.takes * (float(self.commands.values[step.takes_per]) if step.takes_per else 1.0)

    def _gone(self) -> float:
        return (time.time() - self.started) / 60

    def _left_seconds(self) -> float | None:
        """Until the whole run must end; None where the recipe has no such limit."""
        if "minutes" not in self.commands.values or self.plans:
            return None
        return max(0.0, 60 * (self._most() - self._gone()))

    def _most(self) -> float:
        """Minutes after which the run is ended."""
        return float(self.commands.values["minutes"]) + self.recipe.spare_minutes

    def _over(self) -> bool:
        return self._left_seconds() == 0.0

    def _say(self, step: Step, minutes: float) -> None:
        said = [time.strftime("%H:%M")]
        if minutes:
            said.append(f"trains for at most {minutes:.1f} minutes")
        if "minutes" in self.commands.values:
            budget = float(self.commands.values["minutes"])
            said.append(f"{self._gone():.1f} of {budget:g} minutes gone")
        about = f": {step.about}" if step.about else ""
        print(f"   {', '.join(said)}{about}", file=sys.stderr, flush=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command that was asked to end, and end it where it does not."""
    for end in (process.terminate, process.kill):
        try:
            process.wait(_PATIENCE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            end()
    process.wait()
