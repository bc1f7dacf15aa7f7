"""The seed's endpoint as it is printed: an `async def` handler with a synchronous SQLAlchemy session.

Nothing is tuned: the engine's default pool (5 + 10 connections), one session a request through `Depends`.
The commit blocks the event loop, and so does the wait for a connection: once more requests are open than the
pool has connections, those that hold one cannot finish, and all stands still until the pool times out (30 s).
"""

import logging
import os

from common import Base, MessageSaveRequest, get_current_user, login, row
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

logger = logging.getLogger(__name__)
engine = create_engine(os.environ["DATABASE_URL"].replace("postgres://", "postgresql+psycopg2://", 1))
SessionLocal = sessionmaker(autocommit=False, autoflush=False, bind=engine)
app = FastAPI()
app.post("/api/v1/auth/login")(login)


def get_db():
    """A session for one request."""
    db = SessionLocal()
    try:
        yield db
    finally:
        db.close()


@app.post("/api/v1/chat/message")
async def save_message(
    request: MessageSaveRequest,
    current_user: dict = Depends(get_current_user),
    db: Session = Depends(get_db),
):
    try:
        if current_user.get("research_id") != request.research_id:
            raise HTTPException(status_code=403, detail="Unauthorized")
        message = row(request)
        db.add(message)
        db.commit()
        db.refresh(message)
        return {"success": True, "message_id": message.id, "timestamp": message.timestamp.isoformat()}
    except Exception as e:
        logger.error(f"Failed to save message: {str(e)}")
        raise HTTPException(status_code=500, detail=f"Failed to save message: {str(e)}")


if __name__ == "__main__":
    Base.metadata.create_all(engine)
