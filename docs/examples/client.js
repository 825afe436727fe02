#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// A client of a unit's broker, on Node's own modules alone: client.py in another language, with the same commands and
// options. docs/PROTOCOL.md explains what it does and why.
//
//   client.js follow|group|enqueue|dead --broker HOST:PORT --unit U --topic T --partitions N ... [BODY]
'use strict';
const crypto = require('crypto');
const net = require('net');
const os = require('os');

// One reply of RESP2 from BUFFER at AT: [value, where it ends], or null where it is not all there yet.
function parse(buffer, at) {
  const end = buffer.indexOf('\r\n', at);
  if (end < 0) return null;
  const kind = buffer[at], rest = buffer.toString('utf8', at + 1, end);
  let next = end + 2;
  if (kind === 0x2b) return [rest, next];                      // +
  if (kind === 0x2d) return [new Error(rest), next];           // -
  if (kind === 0x3a) return [Number(rest), next];              // :
  const length = Number(rest);
  if (length < 0) return [null, next];
  if (kind === 0x24)                                           // $
    return buffer.length < next + length + 2 ? null : [buffer.toString('utf8', next, next + length), next + length + 2];
  const list = [];                                             // *
  for (let i = 0; i < length; i++) {
    const item = parse(buffer, next);
    if (item === null) return null;
    list.push(item[0]);
    next = item[1];
  }
  return [list, next];
}

// One connection. An error of the server is a value, so that a pipeline can hold some.
class Redis {
  constructor(address) {
    const colon = address.lastIndexOf(':');
    this.waiting = [];
    this.buffer = Buffer.alloc(0);
    this.socket = net.connect(Number(address.slice(colon + 1)), address.slice(0, colon).replace(/^\[|\]$/g, ''));
    this.socket.on('data', (data) => this.read(data));
    this.socket.on('error', (error) => this.fail(error));
    this.socket.on('close', () => this.fail(new Error('the broker closed the connection')));
    if (process.env.BROKER_PASSWORD) this.call('AUTH', process.env.BROKER_PASSWORD);
  }

  read(data) {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (let found; this.waiting.length > 0 && (found = parse(this.buffer, 0)) !== null;) {
      this.buffer = this.buffer.subarray(found[1]);
      this.waiting.shift().resolve(found[0]);
    }
  }

  fail(error) {
    for (const one of this.waiting.splice(0)) one.reject(error);
  }

  // All commands leave in one write; a reply for each comes back.
  pipeline(...commands) {
    this.socket.write(commands.map((words) => `*${words.length}\r\n` + words.map((word) =>
      `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`).join('')).join(''));
    return Promise.all(commands.map(() => new Promise((resolve, reject) => this.waiting.push({resolve, reject}))));
  }

  async call(...words) {
    const [answer] = await this.pipeline(words);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  end() {
    this.socket.end();
  }
}

const keyOf = (options, partition, suffix) => `ldc:{${options.unit}/${options.topic}/${partition}}:${suffix}`;
const numbers = (count) => Array.from({length: count}, (_, number) => number);

function envelope(words) {
  const fields = {};
  for (let i = 0; i < words.length; i += 2) fields[words[i]] = words[i + 1];
  return fields;
}

const print = (fields, names) =>
  process.stdout.write(JSON.stringify(names ? Object.fromEntries(names.map((name) => [name, fields[name]])) : fields) + '\n');

// What an application does with a message. It may come twice: `id` tells.
const handle = (message) => print(message, ['id', 'user', 'n', 'method', 'path', 'body']);

// What was read may still be lost with the primary: hand it over when the replicas have it. PING makes WAIT mean all that
// the broker holds now; never do this on the connection that blocks in XREAD.
async function waitCovered(broker, replicas) {
  while (replicas > 0 && (await broker.pipeline(['PING'], ['WAIT', replicas, 1000]))[1] < replicas);
}

// One reader that keeps its own cursor: for each partition the last entry that was handled, in a key of its own.
async function follow(options, reader, other) {
  const streams = numbers(options.partitions).map((number) => keyOf(options, number, 'stream'));
  const cursors = numbers(options.partitions).map((number) =>
    `${options.name}:{${options.unit}/${options.topic}/${number}}:cursor`);
  const last = (await other.pipeline(...cursors.map((key) => ['GET', key]))).map((known) => known || '0-0');
  while (options.count > 0) {
    const found = await reader.call('XREAD', 'COUNT', 100, 'BLOCK', 1000, 'STREAMS', ...streams, ...last);
    if (found === null) continue;
    await waitCovered(other, options.replicas);
    for (const [stream, entries] of found) {
      const partition = streams.indexOf(stream);
      for (const [entry, words] of entries.slice(0, options.count)) {
        handle(envelope(words));
        last[partition] = entry;
        options.count--;
      }
      await other.call('SET', cursors[partition], last[partition]); // the acknowledgement: behind the work, never before
    }
  }
}

// Readers that share the messages of a consumer group. No order is kept between them.
async function group(options, reader, other) {
  const consumer = `${os.hostname()}-${process.pid}`;
  const streams = numbers(options.partitions).map((number) => keyOf(options, number, 'stream'));
  await other.pipeline(...streams.map((stream) => ['XGROUP', 'CREATE', stream, options.name, '0', 'MKSTREAM']));
  while (options.count > 0) {
    const found = [];
    for (const stream of streams) // what a reader that died left behind
      found.push([stream, (await other.call('XAUTOCLAIM', stream, options.name, consumer, 60000, '0', 'COUNT', 100))[1]]);
    found.push(...await reader.call('XREADGROUP', 'GROUP', options.name, consumer, 'COUNT', Math.min(options.count, 100),
      'BLOCK', 1000, 'STREAMS', ...streams, ...streams.map(() => '>')) || []);
    await waitCovered(other, options.replicas);
    for (const [stream, entries] of found)
      for (const [entry, words] of entries) {
        handle(envelope(words));
        await other.call('XACK', stream, options.name, entry);
        options.count--;
      }
  }
}

// One message, as a gateway would store it. Exit code 0: stored; 1: not stored; 4: unknown, repeat with the same key.
async function enqueue(options, broker) {
  const slot = Number(BigInt(options.user) % BigInt(options.slots)); // where the rules say `hash: modulo`
  const partition = slot % options.partitions, nowUs = Date.now() * 1000;
  const unique = (nowUs / 1000).toString(16).padStart(12, '0') + crypto.randomBytes(6).toString('hex');
  const id = `${options.unit}.${options.topic}.${partition}.${unique}`, epochKey = `ldc:{${options.unit}}:epoch`;
  const fingerprint = crypto.createHash('sha256').update(`POST\n${options.path}\n${options.body}`).digest('hex').slice(0, 32);
  const keys = [keyOf(options, partition, 'stream'), keyOf(options, partition, 'state'), epochKey];
  if (options.key)
    keys.push(keyOf(options, partition, `idem:${options.user}/${options.key.replace(/%/g, '%25').replace(/\//g, '%2F')}`));
  const epoch = await broker.call('GET', epochKey) || '0';
  const fields = [id, options.user, slot, 0, nowUs, 'blue', 'POST', options.path, 'content-type: text/plain', options.body];
  const [stored, replicas] = await broker.pipeline(
    ['FCALL', 'ldc1_enqueue', keys.length, ...keys, epoch, 0, 300000, fingerprint, ...fields, ''],
    ['WAIT', options.replicas, 1000]);
  if (stored instanceof Error) {
    print({refused: stored.message});
    return 1;
  }
  const replayed = Array.isArray(stored); // the key was known: ["replay", the first one's id]
  const known = replayed ? stored[1] : id, met = replicas >= options.replicas;
  print(met ? {id: known, replayed} : {unknown: known});
  return met ? 0 : 4;
}

// The dead letters: envelopes with the reason why no retry could help.
async function dead(options, broker) {
  for (const partition of numbers(options.partitions))
    for (const [, words] of await broker.call('XRANGE', keyOf(options, partition, 'dead:' + options.subscription), '-', '+'))
      print(envelope(words), ['id', 'user', 'body', 'reason', 'status', 'attempts']);
}

function parseArguments(words) {
  const options = {partitions: 8, slots: 100, replicas: 0, count: Infinity, name: 'example', subscription: 'default',
                   user: '1', path: '/', body: ''};
  const plain = [];
  while (words.length > 0) {
    const word = words.shift(), name = word.slice(2);
    if (!word.startsWith('--')) plain.push(word);
    else options[name] = typeof options[name] === 'number' ? Number(words.shift()) : words.shift();
  }
  [options.command, options.body = ''] = plain;
  return options;
}

async function main() {
  const options = parseArguments(process.argv.slice(2)), command = {follow, group, enqueue, dead}[options.command];
  if (!command || !options.broker || !options.unit || !options.topic) {
    process.stderr.write('usage: client.js follow|group|enqueue|dead --broker HOST:PORT --unit U --topic T ... [BODY]\n');
    return 2;
  }
  const connections = [new Redis(options.broker), new Redis(options.broker)];
  try {
    return await command(options, ...connections);
  } finally {
    for (const connection of connections) connection.end();
  }
}

main().then((code) => { process.exitCode = code || 0; }, (error) => {
  process.stderr.write(error.message + '\n');
  process.exitCode = 1;
});
