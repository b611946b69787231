"""A YAML file of sections, read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, refusing a key given twice instead of taking the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"key given twice: {', '.join(twice)}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping; ``ValueError`` names the file and the line that cannot be read."""
    try:
        content = _UniqueKeys(Path(path).read_text()).get_single_data()
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); give an existing params file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: holds {type(content).__name__}, not sections; "
            "start from the params.yaml in git"
        )
    return content
