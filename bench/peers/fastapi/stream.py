"""The seed's live stream on the tuned peer: an event stream that asks the table each second for what is new.

The seed prints what its stream sends and not its code. This is the loop that its documentation describes, by
somebody who knows the stack: asyncpg, columns instead of objects, no connection held between two questions, and
an index that the question needs. It says nothing of ids, so a client that comes back starts again.
"""

import asyncio
import json
import time

from common import ConversationMessage, get_current_user
from fastapi import Depends
from fastapi.responses import StreamingResponse
from sqlalchemy import Index, func, select
from tuned import Sessions, app, engine

INTERVAL = 1.0
HEARTBEAT = 30.0
Message = ConversationMessage
by_conversation = Index("ix_conversation", Message.elevenlabs_conversation_id, Message.id)


@app.on_event("startup")
async def create_index():
    async with engine.begin() as connection:
        # Both workers start at once, and one of two that make the same index fails.
        await connection.execute(select(func.pg_advisory_xact_lock(1)))
        await connection.run_sync(lambda sync: by_conversation.create(sync, checkfirst=True))


async def messages_after(conversation_id: str, last: int):
    """Messages of a conversation after one of its ids."""
    query = (
        select(Message.id, Message.elevenlabs_message_id, Message.role, Message.content, Message.timestamp)
        .where(Message.elevenlabs_conversation_id == conversation_id, Message.id > last)
        .order_by(Message.id)
    )
    async with Sessions() as db:
        return (await db.execute(query)).all()


def frame(event: str, data: dict) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


def shown(row) -> dict:
    return {
        "message_id": row.elevenlabs_message_id,
        "role": row.role,
        "content": row.content,
        "timestamp": row.timestamp.isoformat(),
        "sources": "",
    }


@app.get("/api/conversation/{conversation_id}/stream")
async def stream(conversation_id: str, user: dict = Depends(get_current_user)):
    async def frames():
        event, last, total, beat = "initial", 0, 0, time.monotonic()
        while True:
            rows = await messages_after(conversation_id, last)
            if rows or event == "initial":
                last, total = (rows[-1].id if rows else last), total + len(rows)
                messages = [shown(row) for row in rows]
                yield frame(
                    event, {"conversation_id": conversation_id, "messages": messages, "total_messages": total}
                )
                event = "new_messages"
            if time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                yield frame("heartbeat", {"status": "connected"})
            await asyncio.sleep(INTERVAL)

    return StreamingResponse(frames(), media_type="text/event-stream")
