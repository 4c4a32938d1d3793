"""What became of the files of a survey."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FetchReport"]

SHOWN = 10  # failures that are told one by one


@dataclass
class FetchReport:
    """What a fetch did and left; spectra by their place, ``apo25m/4405/apStar-r8-2M...fits``."""

    counts: dict[str, int] = field(default_factory=dict)  # spectra by state
    missing: dict[str, str] = field(default_factory=dict)  # why the archive has no such spectrum; nobody's fault
    failed: dict[str, str] = field(default_factory=dict)  # files and folders that could not be had this time, and why
    unverified: list[str] = field(default_factory=list)  # spectra that no hash list of the archive names
    not_fetched: dict[str, str] = field(default_factory=dict)  # tables for comparison only
    notes: list[str] = field(default_factory=list)
    complete: bool = False  # the manifest is written

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state, count in sorted(self.counts.items()) if count]
        lines = [f"spectra: {', '.join(parts) or 'none asked for'}"]
        if self.missing:
            lines.append(f"stars without a spectrum in the archive: {len(self.missing)}; their rows will say so")
        if self.unverified:
            lines.append(f"spectra in no hash list of the archive: {len(self.unverified)}; their form alone is checked")
        lines += [f"not fetched: {name}: {reason}" for name, reason in self.not_fetched.items()]
        lines += [f"failed: {name}: {reason}" for name, reason in list(self.failed.items())[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f"failed: and {len(self.failed) - SHOWN} more")
        return "\n".join(lines + self.notes)
