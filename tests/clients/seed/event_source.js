// Using EventSource API
const conversationId = 'conv_919325590143_20251003_115804';
const token = 'your_jwt_token_here';

const eventSource = new EventSource(
  `/api/conversation/${conversationId}/stream`,
  {
    headers: {
      'Authorization': `Bearer ${token}`
    }
  }
);

// Handle initial data
eventSource.addEventListener('initial', (event) => {
  const data = JSON.parse(event.data);
  console.log('Initial conversation:', data);
  displayMessages(data.messages);
});

// Handle new messages
eventSource.addEventListener('new_messages', (event) => {
  const data = JSON.parse(event.data);
  console.log('New messages:', data.messages);
  appendMessages(data.messages);
});

// Handle conversation ended
eventSource.addEventListener('ended', (event) => {
  const data = JSON.parse(event.data);
  console.log('Conversation ended:', data.message);
  eventSource.close();
});

// Handle errors
eventSource.addEventListener('error', (event) => {
  const data = JSON.parse(event.data);
  console.error('Stream error:', data.error);
  eventSource.close();
});

// Handle heartbeat (optional)
eventSource.addEventListener('heartbeat', (event) => {
  console.log('Connection alive');
});

// Close connection when done
function cleanup() {
  eventSource.close();
}
