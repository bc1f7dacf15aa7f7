"""The same endpoint by somebody who knows the stack: asyncpg, 20 connections a worker, no second read."""

import os

from common import MessageSaveRequest, get_current_user, login, row
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgres://", "postgresql+asyncpg://", 1),
    pool_size=20,
    max_overflow=0,
    pool_pre_ping=False,
)
Sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()
app.post("/api/v1/auth/login")(login)


@app.post("/api/v1/chat/message")
async def save_message(request: MessageSaveRequest, user: dict = Depends(get_current_user)):
    if user.get("research_id") != request.research_id:
        raise HTTPException(status_code=403, detail="Unauthorized")
    message = row(request)
    async with Sessions() as db:
        db.add(message)
        await db.commit()
    return {"success": True, "message_id": message.id, "timestamp": message.timestamp.isoformat()}
