import express from 'express';
import { openStore } from './store.js';

const greeting = 'Welcome';
const port = Number(process.env.PORT ?? 8080);
const store = openStore(process.env.DATA ?? './data');

const app = express();
app.use(express.json({ limit: '16kb' }));
app.use(express.static(new URL('./public', import.meta.url).pathname));

app.get('/greeting', (_request, response) => {
  response.type('text/plain').send(`${greeting}\n`);
});

app.get('/entries', (_request, response) => {
  response.json(store.list());
});

app.post('/entries', (request, response) => {
  const { name, message } = request.body ?? {};
  if (typeof name !== 'string' || typeof message !== 'string' || name === '' || message === '') {
    response.status(400).json({ error: 'name and message are needed, both as text' });
    return;
  }
  const entry = store.add(name, message);
  console.log(`entry ${entry.id} by ${name}`);
  response.status(201).json(entry);
});

const server = app.listen(port, () => console.log(`guestbook listens on port ${port}`));

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    console.log(`${signal}: closing`);
    server.close(() => {
      store.close();
      process.exit(0);
    });
    server.closeAllConnections();
  });
}
