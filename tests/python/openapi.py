"""Reads a document from stdin and prints what is wrong with it as OpenAPI 3.1, as a list of sentences."""

import json
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

errors = OpenAPIV31SpecValidator(json.load(sys.stdin)).iter_errors()
json.dump([error.message for error in errors], sys.stdout)
