// Does with MQTT.js what it is told on standard input: a JSON object a line, answered by one on standard output. What the
// objects mean is said in ../agent.rs.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'

// Where the library is installed.
const mqtt = createRequire(process.argv[2] + '/')('mqtt')
const PATIENCE = 20_000
const SCHEMES = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }
const clients = new Map()

function patiently(promise, what) {
  let timer
  const end = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE)
  })
  return Promise.race([promise, end]).finally(() => clearTimeout(timer))
}

// What comes is kept until it is asked for.
class Queue {
  items = []
  waiting = []
  put(item) {
    const next = this.waiting.shift()
    if (next) next(item)
    else this.items.push(item)
  }
  take(what) {
    if (this.items.length > 0) return Promise.resolve(this.items.shift())
    return patiently(new Promise((resolve) => this.waiting.push(resolve)), what)
  }
}

function connect(options) {
  const five = options.version === 5
  const client = mqtt.connect({
    protocol: SCHEMES[options.transport],
    host: 'localhost',
    port: options.port,
    path: '/mqtt',
    ca: options.ca ? readFileSync(options.ca) : undefined,
    protocolVersion: options.version,
    clientId: options.id,
    clean: options.clean,
    keepalive: options.keep_alive,
    username: options.user ?? undefined,
    password: options.password ?? undefined,
    will: options.will ?? undefined,
    reconnectPeriod: 0,
    resubscribe: false,
    properties: five && options.expiry !== null ? { sessionExpiryInterval: options.expiry } : undefined,
  })
  const state = { client, five, messages: new Queue(), ended: new Queue() }
  let reason = null
  client.on('message', (topic, payload, packet) => state.messages.put(describe(topic, payload, packet)))
  client.on('disconnect', (packet) => (reason = packet.reasonCode))
  client.on('close', () => state.ended.put({ reason }))
  const answer = new Promise((resolve, reject) => {
    client.once('connect', (connack) => {
      client.on('error', () => {}) // The end of the connection tells.
      resolve({
        present: connack.sessionPresent,
        reason: 0,
        assigned: connack.properties?.assignedClientIdentifier ?? null,
      })
    })
    client.once('error', reject)
  })
  return [state, patiently(answer, 'CONNACK')]
}

function describe(topic, payload, packet) {
  const properties = packet.properties ?? {}
  const identifiers = properties.subscriptionIdentifier ?? []
  return {
    topic,
    payload: payload.toString(),
    qos: packet.qos,
    retain: packet.retain,
    expiry: properties.messageExpiryInterval,
    content_type: properties.contentType,
    response_topic: properties.responseTopic,
    correlation: properties.correlationData?.toString(),
    user: Object.entries(properties.userProperties ?? {}),
    identifiers: Array.isArray(identifiers) ? identifiers : [identifiers],
  }
}

function properties(message) {
  const all = {
    topicAlias: message.alias ?? undefined,
    messageExpiryInterval: message.expiry ?? undefined,
    contentType: message.content_type ?? undefined,
    responseTopic: message.response_topic ?? undefined,
    correlationData: message.correlation ? Buffer.from(message.correlation) : undefined,
    userProperties: message.user.length > 0 ? Object.fromEntries(message.user) : undefined,
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

const operations = {
  async subscribe({ client, five }, wanted) {
    const options = { qos: wanted.qos }
    if (five) {
      Object.assign(options, { nl: wanted.no_local, rap: wanted.retain_as_published, rh: 0 })
      if (wanted.identifier) options.properties = { subscriptionIdentifier: wanted.identifier }
    }
    const [granted] = await patiently(client.subscribeAsync(wanted.filter, options), 'SUBACK')
    return { reason: granted.qos }
  },
  async unsubscribe({ client }, wanted) {
    await patiently(client.unsubscribeAsync(wanted.filter), 'UNSUBACK')
  },
  async publish({ client, five }, { messages }) {
    const sent = messages.map((message) => {
      const options = { qos: message.qos, retain: message.retain }
      if (five) options.properties = properties(message)
      return client.publishAsync(message.topic, message.payload, options)
    })
    await patiently(Promise.all(sent), 'acknowledgements')
  },
  message: ({ messages }) => messages.take('a message'),
  ended: ({ ended }) => ended.take('the end'),
  async disconnect({ client, ended }) {
    client.end()
    await ended.take('the end')
  },
  async lose_power({ client, ended }) {
    client.stream.destroy()
    await ended.take('the end')
  },
}

async function handle({ client: name, op, ...request }) {
  if (op === 'connect') {
    const [state, answer] = connect(request)
    clients.set(name, state)
    return answer
  }
  return operations[op](clients.get(name), request)
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    answer = { ok: (await handle(JSON.parse(line))) ?? {} }
  } catch (error) {
    answer = { error: String(error.stack ?? error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit(0)
