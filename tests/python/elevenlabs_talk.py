"""A conversation with an agent by the vendor's own SDK, to its end.

stdin: {"base", "key", "agent", "user", "variables", "typed"}; "typed" is sent when the agent has spoken first. stdout:
{"id"} of the conversation, and in {"heard"} what the SDK told, in order.
"""

import json
import sys

from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import Conversation, ConversationInitiationData

asked = json.load(sys.stdin)
heard = []


def agent(text):
    if not heard:
        conversation.send_user_message(asked["typed"])
    heard.append({"agent": text})


conversation = Conversation(
    ElevenLabs(api_key=asked["key"], base_url=asked["base"]),
    asked["agent"],
    asked["user"],
    requires_auth=True,
    audio_interface=None,
    config=ConversationInitiationData(dynamic_variables=asked["variables"]),
    callback_agent_response=agent,
    callback_agent_response_correction=lambda original, corrected: heard.append(
        {"original": original, "corrected": corrected}
    ),
    callback_user_transcript=lambda text: heard.append({"user": text}),
)
conversation.start_session()
json.dump({"id": conversation.wait_for_session_end(), "heard": heard}, sys.stdout)
