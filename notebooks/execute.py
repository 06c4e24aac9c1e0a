"""Runs notebooks and keeps their outputs in them, small enough to be committed.

    python notebooks/execute.py [effective_sparsity imp_postprocess ...]      all of them without names

Figures become PNGs of few colours; films are left out of the file, and are there whenever the notebook is run.
`imp_postprocess` shows the run in runs/main (`python -m tfprune.imp inputs/main.ini`).
"""

from __future__ import annotations

import argparse
import base64
import io
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

from tfprune.records.atomic import atomic_write_text

FOLDER = Path(__file__).parent
_COLORS = 160  # with the method below no colour moves far enough to be taken for another
_FILM = "A film; run the notebook to see it."


def execute(path: Path) -> int:
    """Runs one notebook in its folder, replaces its outputs and gives the bytes of the file.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; the file stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    nbclient.NotebookClient(notebook, timeout=600, record_timing=False, resources=place).execute()
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number
        # Progress is for those who watch: bars, and lines on stderr.
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" and not _is_bar(output)]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
            if "data" in output:
                output.data = _small(output.data)
    notebook.metadata.pop("widgets", None)
    text = nbformat.writes(notebook)
    atomic_write_text(path, text if text.endswith("\n") else text + "\n")
    return path.stat().st_size


def _is_bar(output: dict) -> bool:
    return "application/vnd.jupyter.widget-view+json" in output.get("data", {})


def _small(data: dict) -> dict:
    if "<video" in data.get("text/html", "") or "image/gif" in data:
        return nbformat.from_dict({"text/plain": _FILM})
    if "image/png" in data:
        picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
        file = io.BytesIO()
        picture.quantize(_COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        data["image/png"] = base64.b64encode(file.getvalue()).decode()
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks without .ipynb")
    chosen = parser.parse_args().names or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in chosen:
        print(f"{name}.ipynb: {execute(FOLDER / f'{name}.ipynb'):,} bytes", flush=True)


if __name__ == "__main__":
    main()
