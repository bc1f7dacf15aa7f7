"""The seed's endpoint with one word taken away: `def` instead of `async def`.

FastAPI then runs it in its pool of 40 threads, as its documentation advises for a synchronous database, and a
commit no longer blocks the event loop. Shown so that the comparison does not rest on the stall of the other.
"""

from common import MessageSaveRequest, get_current_user, login, row
from documented import get_db
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.orm import Session

app = FastAPI()
app.post("/api/v1/auth/login")(login)


@app.post("/api/v1/chat/message")
def save_message(
    request: MessageSaveRequest,
    current_user: dict = Depends(get_current_user),
    db: Session = Depends(get_db),
):
    if current_user.get("research_id") != request.research_id:
        raise HTTPException(status_code=403, detail="Unauthorized")
    message = row(request)
    db.add(message)
    db.commit()
    db.refresh(message)
    return {"success": True, "message_id": message.id, "timestamp": message.timestamp.isoformat()}
