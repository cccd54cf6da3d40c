"""The findings of a diagnosis, by their code."""

from migrations.doctor.diagnosis import Diagnosis


def counts(diagnosis: Diagnosis) -> dict[str, int]:
    return {finding.kind.code: finding.count for finding in diagnosis.findings}


def first(diagnosis: Diagnosis, code: str) -> list[str]:
    return next(found.first for found in diagnosis.findings if found.kind.code == code)
