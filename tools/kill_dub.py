"""Does a dub that is killed again and again give the file of one that is not?

    python tools/kill_dub.py --kills 20 -- --video V --audio A --output O [options of bootdub dub]

The command runs once undisturbed, into OUTPUT with ``whole-`` before its name. Then it is killed (SIGKILL) at
moments drawn evenly from the time that this took, and started again, until it has been killed so often; a run
that ends before its moment is compared and begun anew. The exit code is 1 where a file differs.
"""

from __future__ import annotations

import argparse
import filecmp
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stage2_dubber.dub.resume.folder import folder_of


def _command(options: Sequence[str], output: Path) -> list[str]:
    place = options.index("--output") + 1
    return [sys.executable, "-m", "bootdub", "dub", *options[:place], str(output), *options[place + 1 :]]


def _killed(command: Sequence[str], output: Path, moment: float) -> bool:
    """Whether a run was killed after ``moment`` seconds before its work was done; else it has ended well."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if process.wait(moment):
            raise SystemExit(f"the command failed with {process.returncode}: {' '.join(command)}")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        # All done and cleared: only the process had not ended yet.
        return folder_of(output).exists() or not output.exists()
    return False


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of bootdub dub, after --")
    given = parser.parse_args(argv)
    options = [word for word in given.options if word != "--"]
    output = Path(options[options.index("--output") + 1])
    whole = output.with_name(f"whole-{output.name}")
    begun = time.monotonic()
    subprocess.run([*_command(options, whole), "--overwrite"], check=True)
    seconds, draw = time.monotonic() - begun, random.Random(given.seed)
    output.unlink(missing_ok=True)
    kills = same = different = 0
    while True:
        moment = draw.uniform(0, seconds) if kills < given.kills else 1e6
        if _killed(_command(options, output), output, moment):
            kills += 1
            print(f"killed after {moment:.1f} of {seconds:.1f} s", flush=True)
            continue
        equal = filecmp.cmp(whole, output, shallow=False)
        same, different = same + equal, different + (not equal)
        if kills >= given.kills:
            break
        output.unlink()
    print(f"{kills} kills; of {same + different} finished files {same} are those of the undisturbed run")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
