// The peer of the whole path: what an engineer who knows Node.js writes in a day, from the examples of its libraries.
//
// `node app.mjs receiver`: Express, the official validator, SET NX for a message that comes again, a job for each
// message. `node app.mjs worker`: a BullMQ worker with 100 jobs at once; GET route, else POST the conversation (409:
// list), SET NX route; XADD of the entries. Completed jobs are deleted. It does no more than the hand-written pair
// (handwritten_worker.py): no order within a customer, no policy, no log, no metrics.

import { Queue, Worker } from 'bullmq';
import express from 'express';
import { Redis } from 'ioredis';
import twilio from 'twilio';

const { API_URL, AUTHORIZATION, AUTH_TOKEN, BASE_URL, PORT, REDIS_URL } = process.env;
const ANSWER = '<?xml version="1.0" encoding="UTF-8"?><Response/>';
const CLAIM_SECONDS = 2 * 86_400;
const ROUTE_SECONDS = 86_400;
const AT_ONCE = 100;
const CONFIGURATION = 'conv_configuration_00000000000000000000000001';
const PARTICIPANTS = 'express:participants';
// Commands of one turn of the event loop share a write.
const redis = new Redis(REDIS_URL, { maxRetriesPerRequest: null, enableAutoPipelining: true });

async function receive() {
  const queue = new Queue('sms', { connection: redis, defaultJobOptions: { removeOnComplete: true } });
  const app = express().disable('x-powered-by').disable('etag');
  app.post('/webhooks/messaging', express.urlencoded({ extended: false }), async (request, response) => {
    const signature = request.get('X-Twilio-Signature') ?? '';
    if (!twilio.validateRequest(AUTH_TOKEN, signature, BASE_URL + request.originalUrl, request.body)) {
      response.status(403).end();
      return;
    }
    if (await redis.set(`seen:${request.body.MessageSid}`, '1', 'EX', CLAIM_SECONDS, 'NX')) {
      await queue.add('sms', request.body);
    }
    response.type('text/xml').send(ANSWER);
  });
  const server = app.listen(Number(PORT), '127.0.0.1');
  return async () => {
    server.close();
    server.closeAllConnections();
    await queue.close();
  };
}

async function work() {
  const worker = new Worker('sms', (job) => take(job.data), { connection: redis, concurrency: AT_ONCE });
  return () => worker.close();
}

async function take(form) {
  const route = `route:${form.From}:${form.To}`;
  const known = await redis.get(route);
  let participant;
  if (known === null) {
    participant = await openConversation(form);
    if (await redis.set(route, JSON.stringify(participant), 'EX', ROUTE_SECONDS, 'NX')) {
      await publish('participant.joined', form, participant);
    }
  } else {
    participant = JSON.parse(known);
  }
  await publish('communication.received', form, participant);
}

async function openConversation(form) {
  const body = {
    configurationId: CONFIGURATION,
    participants: [
      { type: 'CUSTOMER', addresses: [{ channel: 'SMS', address: form.From, channelId: form.MessageSid }] },
      { type: 'AI_AGENT', addresses: [{ channel: 'SMS', address: form.To }] },
    ],
  };
  const answer = await ask('/v2/Conversations', { method: 'POST', body: JSON.stringify(body) });
  let participants;
  if (answer.status === 409) {
    await answer.arrayBuffer();
    const id = answer.headers.get('X-Conflicting-Resource-Id');
    participants = (await (await ask(`/v2/Conversations/${id}/Participants`)).json()).participants;
  } else {
    participants = (await answer.json()).participants;
  }
  return participants.find((one) => one.type === 'CUSTOMER');
}

function ask(path, options = {}) {
  const headers = { Authorization: AUTHORIZATION, 'Content-Type': 'application/json' };
  return fetch(API_URL + path, { ...options, headers });
}

function publish(type, form, participant) {
  const event = {
    specversion: '1.0',
    type,
    source: '/express',
    id: `${type}:${form.MessageSid}`,
    subject: participant.id,
    datacontenttype: 'application/json',
    data: {
      target: 'ai-agent',
      address: form.From,
      recipient: form.To,
      participant,
      text: form.Body,
      channel_id: form.MessageSid,
    },
  };
  return redis.xadd(PARTICIPANTS, '*', 'type', type, 'id', event.id, 'event', JSON.stringify(event));
}

const close = await (process.argv[2] === 'worker' ? work() : receive());
process.on('SIGTERM', async () => {
  await close();
  await redis.quit();
  process.exit(0);
});
