"""Write ``src/apogaia/surveys/survey.schema.json``, from which editors know the keys of survey files, from the code."""

import json
from pathlib import Path

from apogaia.files import atomic
from apogaia.survey import survey_schema

SCHEMA = Path(__file__).resolve().parents[1] / "src" / "apogaia" / "surveys" / "survey.schema.json"


def main() -> None:
    with atomic(SCHEMA) as temporary:
        temporary.write_text(json.dumps(survey_schema(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
