"""What both peers share: the request and response of the seed, the table's columns, and the token check.

`get_current_user` and `login` are not printed in the seeds; these are the ones that FastAPI's own tutorial
and python-jose's README give.
"""

import os
from datetime import datetime, timedelta, timezone
from typing import Optional

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jose import JWTError, jwt
from pydantic import BaseModel
from sqlalchemy import Column, DateTime, Integer, String, Text
from sqlalchemy.orm import declarative_base

SECRET = os.environ["JWT_SECRET"]
LIFETIME = timedelta(hours=24)
Base = declarative_base()
bearer = HTTPBearer()


class LoginRequest(BaseModel):
    research_id: str


class MessageSaveRequest(BaseModel):
    research_id: str
    role: str  # 'user' or 'assistant'
    content: str
    timestamp: str  # ISO format
    provider: str  # 'elevenlabs' or 'openai'
    elevenlabs_conversation_id: Optional[str] = None
    elevenlabs_message_id: Optional[str] = None


class ConversationMessage(Base):
    """The table as the seed prints it; only DateTime is told to keep the offset it is given."""

    __tablename__ = "conversation_messages"

    id = Column(Integer, primary_key=True, index=True)
    research_id = Column(String, index=True, nullable=False)
    role = Column(String, nullable=False)
    content = Column(Text, nullable=False)
    timestamp = Column(DateTime(timezone=True), nullable=False, default=datetime.utcnow)
    provider = Column(String, default="openai")
    elevenlabs_conversation_id = Column(String, nullable=True)
    elevenlabs_message_id = Column(String, nullable=True)
    created_at = Column(DateTime, default=datetime.utcnow)


def row(request: MessageSaveRequest) -> ConversationMessage:
    """The row for a request, built as in the seed."""
    return ConversationMessage(
        research_id=request.research_id,
        role=request.role,
        content=request.content,
        timestamp=datetime.fromisoformat(request.timestamp.replace("Z", "+00:00")),
        provider=request.provider,
        elevenlabs_conversation_id=request.elevenlabs_conversation_id,
        elevenlabs_message_id=request.elevenlabs_message_id,
    )


def login(request: LoginRequest) -> dict:
    """A bearer token for a research id."""
    claims = {"research_id": request.research_id, "exp": datetime.now(timezone.utc) + LIFETIME}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    return {"access_token": token, "token_type": "bearer", "research_id": request.research_id}


async def get_current_user(credentials: HTTPAuthorizationCredentials = Depends(bearer)) -> dict:
    """The claims of the bearer token, or 401."""
    try:
        return jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])
    except JWTError as error:
        raise HTTPException(status_code=401, detail="Invalid token") from error
