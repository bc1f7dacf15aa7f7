import requests
import json

conversation_id = 'conv_919325590143_20251003_115804'
token = 'your_jwt_token_here'

headers = {
    'Authorization': f'Bearer {token}',
    'Accept': 'text/event-stream'
}

url = f'http://localhost:5000/api/conversation/{conversation_id}/stream'

with requests.get(url, headers=headers, stream=True) as response:
    for line in response.iter_lines():
        if line:
            line = line.decode('utf-8')
            
            if line.startswith('event:'):
                event_type = line.split(':', 1)[1].strip()
                
            elif line.startswith('data:'):
                data = json.loads(line.split(':', 1)[1].strip())
                
                if event_type == 'initial':
                    print(f"Initial messages: {len(data['messages'])}")
                    
                elif event_type == 'new_messages':
                    print(f"New messages: {len(data['messages'])}")
                    for msg in data['messages']:
                        print(f"  {msg['role']}: {msg['content']}")
                        
                elif event_type == 'ended':
                    print("Conversation ended")
                    break
                    
                elif event_type == 'error':
                    print(f"Error: {data['error']}")
                    break
