"""An app of the tests, whose models have primary keys and parents of all kinds."""
