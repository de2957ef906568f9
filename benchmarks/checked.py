"""A measured task function with a JSON schema; a module of its own, so that the others import no jsonschema."""

from autotask.tasks import delayed_task

#: A flat object with five fields.
FIELDS = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 0},
        "name": {"type": "string", "maxLength": 100},
        "email": {"type": "string", "format": "email"},
        "kind": {"enum": ["a", "b"]},
        "rate": {"type": "number"},
    },
    "required": ["number"],
    "additionalProperties": False,
}

FITTING = {"number": 7, "name": "somebody", "email": "a@example.org", "kind": "b", "rate": 1.5}


@delayed_task(json_schema=FIELDS)
def checked(params: dict[str, object]) -> None:
    """Do nothing."""
