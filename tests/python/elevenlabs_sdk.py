"""What the vendor's own SDK says of webhooks.

stdin: a list of {"body", "header", "secret"}. stdout: for each {"event"}, as the SDK read it, with the names of the fields
that its model does not know in {"unknown"} where it has a model; or {"refused"}, the SDK's own sentence.
"""

import json
import sys

from elevenlabs import ElevenLabs
from elevenlabs.errors import BadRequestError
from elevenlabs.types import GetConversationResponseModel
from pydantic import BaseModel


def unknown(value, path):
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield f"{path}.{name}"
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from unknown(item, f"{path}.{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from unknown(item, f"{path}[{place}]")


def read(client, case):
    try:
        event = client.webhooks.construct_event(
            rawBody=case["body"], sig_header=case["header"], secret=case["secret"]
        )
    except BadRequestError as error:
        return {"refused": error.body["error"] if isinstance(error.body, dict) else str(error.body)}
    answer = {"event": event}
    if event["type"] == "post_call_transcription":
        model = GetConversationResponseModel.model_validate(event["data"])
        answer["unknown"] = list(unknown(model, "data"))
    return answer


client = ElevenLabs(api_key="unused", base_url="http://127.0.0.1:9")
json.dump([read(client, case) for case in json.load(sys.stdin)], sys.stdout)
