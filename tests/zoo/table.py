"""The outcomes as Markdown, and what can be read back from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from zoo.trial import FAILED, NOT_APPLICABLE, OK, WRONG, Outcome

GROUPS = ("applications", "user", "hub")
CAPABILITIES = ("as given", "direct", "effective", "masked", "saved", "fit", "compact", "channels")
MISSING = "not reached"
_TITLES = {"applications": "keras.applications", "user": "user", "hub": "KerasHub"}
_NONE = "-"
_HEAD = """# Networks of others

What `tfprune` does with networks that it was not written for: of `keras.applications`, in the manner of Keras's
examples, and of KerasHub, all small and with random weights. `python -m tests.zoo` makes this page;
`tests/zoo/capabilities.py` says what is tried, `tests/zoo/known_gaps.py` why what fails does. Outputs are the same
where they differ by at most 1e-5 of their scale, or by 10 times what rounding alone does where that is more.

- *as given*: `masked` takes a model of an own class as it is, with the same outputs
- *direct*: `prune` by magnitude, all kernels together, to a sparsity of 0.9
- *effective*: `prune` by random/erk (SynFlow where a quota cannot be kept) to an effective 0.9, counted by `sparsity`
- *masked*: masked, stripped, and the plain model with zeros written into its kernels have the same outputs
- *saved*: masks and outputs are the same after saving and loading
- *fit*: a step of training moves kept weights alone, and no masks
- *compact*: the same outputs without the channels that do nothing; 70 % of the weights and a third of the channels of
  each kernel are masked
- *channels*: half of the filters leave (`prune_filters`); where no convolution has any to lose, a quarter of all
  channels (`prune_channels`)

"n/a": it means nothing for the network, or plain Keras cannot do it either, which was tried.
"""


def written(outcomes: Sequence[Outcome]) -> str:
    """The whole page."""
    networks: dict[str, dict[str, Outcome]] = {}
    for one in outcomes:
        networks.setdefault(one.name, {})[one.capability] = one
    return "\n".join(
        [
            *(_HEAD, "## Passed of tried\n", _counts(networks), "## Networks\n", _rows(networks)),
            *("## What fails\n", _details(one for one in outcomes if one.result in (WRONG, FAILED))),
            "## What is n/a because plain Keras cannot do it\n",
            _details(one for one in outcomes if one.result == NOT_APPLICABLE and one.capability != "as given"),
            "## Where no filter can leave, but channels do\n",
            _details(one for one in outcomes if one.result == OK and "can lose filters: the" in one.note),
        ]
    )


def results(page: str) -> dict[str, dict[str, str]]:
    """Network -> capability -> result, of the page's table of networks."""
    lines = page.partition("## Networks")[2].partition("## ")[0].splitlines()
    rows = [[cell.strip(" *`") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    return {name: dict(zip(CAPABILITIES, cells, strict=True)) for name, _, _, *cells, _ in rows}


def _result(outcomes: dict[str, Outcome], capability: str) -> str:
    return outcomes[capability].result if capability in outcomes else MISSING


def _of(networks: dict, group: str | None) -> list[dict[str, Outcome]]:
    return [one for name, one in networks.items() if group is None or name.startswith(f"{group}/")]


def _counts(networks: dict) -> str:
    lines = [_line("", "all", *_TITLES.values()), _line(*["---"] * 5)]
    lines.append(_line("networks", *(len(_of(networks, group)) for group in (None, *GROUPS))))
    for capability in CAPABILITIES:
        cells = []
        for group in (None, *GROUPS):
            found = [_result(one, capability) for one in _of(networks, group)]
            tried = [result for result in found if result != NOT_APPLICABLE]
            wrong = f", {tried.count(WRONG)} wrong" if WRONG in tried else ""
            cells.append(f"{tried.count(OK)} of {len(tried)}{wrong}" if tried else _NONE)
        lines.append(_line(capability, *cells))
    shares = [[_size(one)[1] for one in _of(networks, group)] for group in (None, *GROUPS)]
    lines.append(_line("prunable share, median", *(f"{100 * median(one):.1f} %" if one else _NONE for one in shares)))
    return "\n".join([*lines, ""])


def _rows(networks: dict) -> str:
    lines = [_line("network", "parameters", "prunable", *CAPABILITIES, "s"), _line(*["---"] * (len(CAPABILITIES) + 4))]
    for name, one in networks.items():
        found = [_result(one, capability) for capability in CAPABILITIES]
        cells = [result if result in (OK, NOT_APPLICABLE) else f"**{result}**" for result in found]
        parameters, share = _size(one)
        seconds = sum(outcome.seconds for outcome in one.values())
        lines.append(_line(f"`{name}`", f"{parameters:,}", f"{100 * share:.1f} %", *cells, f"{seconds:.0f}"))
    return "\n".join([*lines, ""])


def _details(outcomes: Iterable[Outcome]) -> str:
    lines = [f"- `{one.name}`, {one.capability}: {one.result}: {one.note}" for one in outcomes]
    return "\n".join([*lines, ""]) if lines else "Nothing.\n"


def _size(one: dict[str, Outcome]) -> tuple[int, float]:
    """Parameters, and the prunable share; 0 where they could not be counted."""
    parameters, share = one["network"].note.split() if "network" in one and one["network"].result == OK else (0, 0)
    return int(parameters), float(share)


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
