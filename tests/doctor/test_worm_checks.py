from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DATA
from support.findings import case_of, findings, outcomes

from codeworm_monitor.doctor.case import Outcome
from codeworm_monitor.doctor.worm_checks import check_worm_files

DATABASE, REPOSITORIES = "codeworm.database", "codeworm.repositories"


async def test_codeworms_own_files_are_read() -> None:
    case = case_of(codeworm_db=str(DATA / "codeworm.db"), codeworm_config=str(DATA / "config"))
    found = await findings(check_worm_files, case)
    assert outcomes(found) == {DATABASE: Outcome.OK, REPOSITORIES: Outcome.OK}
    assert "documents" in found[DATABASE].said


@pytest.mark.parametrize("text", [b"no database", b"SQLite format 3\0" + b"\xff" * 4096])
async def test_files_that_are_not_codeworms_fail(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "codeworm.db").write_bytes(text)
    (tmp_path / "repos.yaml").write_bytes(b"repositories: {]\xff")
    case = case_of(codeworm_db=str(tmp_path / "codeworm.db"), codeworm_config=str(tmp_path), step=0.2)
    found = await findings(check_worm_files, case)
    assert outcomes(found) == {DATABASE: Outcome.FAILED, REPOSITORIES: Outcome.FAILED}
    assert "ls -la" in found[DATABASE].mend


async def test_files_that_are_gone_fail_and_files_nobody_named_are_skipped(tmp_path: Path) -> None:
    found = await findings(check_worm_files, case_of(codeworm_db=str(tmp_path / "x.db"), codeworm_config=str(tmp_path)))
    assert outcomes(found)[REPOSITORIES] is Outcome.FAILED
    found = await findings(check_worm_files, case_of())
    assert outcomes(found) == {DATABASE: Outcome.SKIPPED, REPOSITORIES: Outcome.SKIPPED}
    assert "CODEWORM_DB_PATH" in found[DATABASE].mend
