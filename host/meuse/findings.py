"""What a check found: one line each, with what to do next."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing looked at: `mark` is ok, note or FAIL."""

    mark: str
    what: str
    state: str
    advice: str = ""

    @property
    def bad(self) -> bool:
        return self.mark == "FAIL"


def ok(what: str, state: str) -> Finding:
    return Finding("ok", what, state)


def note(what: str, state: str, advice: str = "") -> Finding:
    return Finding("note", what, state, advice)


def fail(what: str, state: str, advice: str) -> Finding:
    return Finding("FAIL", what, state, advice)


def report(findings: list[Finding]) -> int:
    """Print them for people; 1 when something must be put right, else 0."""
    for finding in findings:
        print(f"{finding.mark:<5} {finding.what}: {finding.state}")
        if finding.advice:
            print(f"      next: {finding.advice}")
    return 1 if any(finding.bad for finding in findings) else 0
