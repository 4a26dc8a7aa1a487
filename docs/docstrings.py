"""How the reference reads the code: Griffe's name for examples, defaults as users see them, nothing that is for developers alone."""

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Shows the sessions below `Example:` as code, and leaves out the maps of packages, and what a module may import."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the text before it is parsed."""
        if obj.docstring is not None:
            text = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = "" if obj.is_init_module else re.sub(r"\n\nMay import.*?(?=\n\n|\Z)", "", text, flags=re.DOTALL)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """`f: int = param(2, ge=0)` has the default 2, `f: int = param(ge=0)` none."""
        if isinstance(attr.value, griffe.ExprCall) and str(attr.value.function) == "param":
            plain = [item for item in attr.value.arguments if not isinstance(item, griffe.ExprKeyword)]
            attr.value = plain[0] if plain else None
