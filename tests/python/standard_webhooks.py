"""Signs and verifies by the Standard Webhooks library.

stdin: a list of {"secret", "id", "timestamp", "body"}, with a "signature" to be verified, or without one to be signed.
stdout: for each {"signature"}, {"verified": true} or {"refused"}, the library's own sentence.
"""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def answer(case):
    webhook = Webhook(case["secret"])
    if "signature" not in case:
        at = datetime.fromtimestamp(case["timestamp"], timezone.utc)
        return {"signature": webhook.sign(case["id"], at, case["body"])}
    headers = {
        "webhook-id": case["id"],
        "webhook-timestamp": str(case["timestamp"]),
        "webhook-signature": case["signature"],
    }
    try:
        webhook.verify(case["body"], headers)
    except WebhookVerificationError as error:
        return {"refused": str(error)}
    return {"verified": True}


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
