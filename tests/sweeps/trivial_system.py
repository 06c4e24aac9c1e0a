"""A study that is over at once, loads no TensorFlow, and fails in any way that is asked for."""

import errno
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tfprune.cli.run import Study
from tfprune.records.atomic import atomic_write_text
from tfprune.records.result import write_result
from tfprune.records.run_folder import Layout, file_of
from tfprune.records.settings import Settings, setting

FAULTS = ("none", "error", "exit", "full", "killed", "killed once", "lies")


@dataclass(frozen=True)
class TrivialSettings(Settings):
    x: int = setting(int, "A number.", 0, at_least=0)
    y: float = setting(float, "Another.", 1.0)
    word: str = setting(str, "A word.", "a")
    words: tuple[str, ...] = setting(str, "Some.", ("a",), many=True)
    fault: str = setting(str, "What goes wrong.", "none", choices=FAULTS, place=True)
    after: str | None = setting(str, "The word of the run whose number this one starts from.", None)
    seconds: float = setting(float, "It takes.", 0.0, place=True)
    out_path: str = setting(str, "Folder of all runs.", "Trivial", place=True)


class TrivialStudy(Study):
    """Writes x + y, and the sum of what it needs; notes each training in `trained.txt` beside the runs' folders."""

    family, settings_type, tensorflow = "trivial", TrivialSettings, False
    layout = Layout(results=("sum.txt", "result.json"))

    @property
    def folder(self):
        return Path(self.settings.out_path, self.digest)

    @property
    def warnings(self):
        return ["a word that is none"] if self.settings.word == "-" else []

    def needs(self):
        if self.settings.after is None:
            return None
        return TrivialStudy(TrivialSettings(word=self.settings.after, out_path=self.settings.out_path))

    def train(self, folder, watch):
        settings = self.settings
        with open(Path(settings.out_path, "trained.txt"), "a") as file:
            file.write(f"{self.digest}\n")
        time.sleep(settings.seconds)
        start = float((self.needs().folder / "sum.txt").read_text()) if settings.after else 0.0
        print("said before it went wrong")
        if settings.fault == "error":
            raise RuntimeError("something\nwent wrong")
        if settings.fault == "exit":
            sys.exit("no more")
        if settings.fault == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.path("sum.txt")))
        once = folder.path("killed")
        if settings.fault == "killed" or (settings.fault == "killed once" and not once.exists()):
            once.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        if settings.fault != "lies":
            atomic_write_text(folder.path("sum.txt"), str(start + settings.x + settings.y))

    def report(self, folder):
        if self.settings.fault != "lies":
            total = float(folder.path("sum.txt").read_text())
            write_result(file_of(self.folder, "result.json"), self.result(label="trivial", more={"sum": total}))
        return "done"
