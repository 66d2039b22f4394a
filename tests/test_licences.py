"""docs/licences.md says what setup.cfg asks for, under the licences that the packages state."""

from __future__ import annotations

import re

from licences import ROOT, licence_of, wanted

_ALLOWED = re.compile(
    r"(Apache-2\.0|BSD-[23]-Clause|0BSD|MIT|MPL-2\.0|PSF-2\.0|Zlib|CC0-1\.0)( \(matplotlib's\))?"
)


def test_every_dependency_is_listed_with_its_licence() -> None:
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| .* \| (.+) \|$", text, re.M))
    rows.pop("package")
    assert rows.keys() == wanted().keys()
    for package, licence in rows.items():
        found = licence_of(package) or licence
        # A release may add a part for what it bundles.
        assert found.split(" AND ")[0] == licence.split(" AND ")[0], package
        assert all(map(_ALLOWED.fullmatch, [*found.split(" AND "), *licence.split(" AND ")])), found
