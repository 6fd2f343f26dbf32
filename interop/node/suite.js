// A plain gRPC client of the public contract, with nothing but its proto files.
// Takes its job as the first line of standard input, see record.go and suite.py.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import path from 'node:path'

// The modules lie where they were installed, and not beside this file.
const require = createRequire(path.join(process.env.INTEROP_MODULES, 'suite.js'))
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const emit = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const monotonic = () => Number(process.hrtime.bigint())
const axes = { '': 'AXIS_RATE', token_budget: 'AXIS_TOKEN_BUDGET', concurrency: 'AXIS_CONCURRENCY' }

// A call waits at most this long, which the server is told.
const patience = 5000

// The clock of the cluster may be behind by this many ms.
const lag = 1200

const decision = (d) => ({
  allowed: d.allowed,
  limit: Number(d.limit),
  remaining: Number(d.remaining),
  reset: Number(d.reset_at),
  retry: Number(d.retry_after_ms),
})

class Door {
  constructor(job) {
    this.secret = job.secret
    const files = ['rate_limiter', 'fleet', 'monitor'].map((f) => `throttlekit/v1/${f}.proto`)
    const options = { includeDirs: [job.protos], keepCase: true, longs: String, enums: String, defaults: true }
    const { v1 } = grpc.loadPackageDefinition(loader.loadSync(files, options)).throttlekit
    const connect = (target) =>
      Object.fromEntries(
        ['RateLimiter', 'Fleet', 'Monitor'].map((name) => [name, new v1[name](target, grpc.credentials.createInsecure())]),
      )
    this.any = connect('ipv4:' + job.targets.join(','))
    this.guarded = connect('ipv4:' + job.guarded)
  }

  close() {
    for (const c of [...Object.values(this.any), ...Object.values(this.guarded)]) c.close()
  }

  // A unary call, with the secret that a step shows, else the right one.
  call(service, method, request, step = {}) {
    const metadata = new grpc.Metadata()
    const shown = step.at ? { '': '', wrong: 'wrong', right: this.secret }[step.secret] : this.secret
    if (shown && service === 'Fleet') metadata.set('x-fleet-secret', shown)
    if (shown && service === 'Monitor') metadata.set('authorization', 'bearer ' + shown)
    const stub = (step.at ? this.guarded : this.any)[service]
    return new Promise((resolve, reject) => {
      stub[method](request, metadata, { deadline: Date.now() + patience }, (err, reply) => (err ? reject(err) : resolve(reply)))
    })
  }

  async check(s) {
    const r = await this.call('RateLimiter', 'Check', { policy: s.policy, key: s.key, cost: s.cost })
    return { decision: decision(r.decision) }
  }

  async checkMany(s) {
    const r = await this.call('RateLimiter', 'CheckMany', { policy: s.policy, keys: s.keys, cost: s.cost })
    return { all: r.decisions.map(decision) }
  }

  async peek(s) {
    const r = await this.call('RateLimiter', 'Peek', { policy: s.policy, key: s.key })
    return { decision: decision(r.decision) }
  }

  async forecast(s) {
    const r = await this.call('RateLimiter', 'Forecast', { policy: s.policy, key: s.key, cost: s.cost })
    const f = r.forecast
    return { forecast: { spendable: Number(f.spendable_now), next: Number(f.next_replenish_at), full: Number(f.full_at) } }
  }

  async debit(s) {
    const r = await this.call('RateLimiter', 'Debit', { policy: s.policy, key: s.key, tokens: s.cost })
    return { decision: decision(r.decision) }
  }

  async admit(s) {
    const r = await this.call('RateLimiter', 'Admit', { policy: s.policy, key: s.key, cost: 7, hold: 9, value: -1 })
    if (r.policy_denied) throw new Error('policy_denied is set')
    return { decision: decision(r.decision), lease: r.lease_id, expires: Number(r.lease_expires_at), axis: r.binding_axis }
  }

  async release(s) {
    await this.call('RateLimiter', 'Release', { lease_id: s.key, dropped: s.dropped })
    return {}
  }

  async heartbeat(s) {
    const r = await this.call('RateLimiter', 'Heartbeat', { lease_ids: s.ids })
    return { beat: { live: r.live_ids, reclaimed: r.reclaimed_ids, deadline: Number(r.next_deadline) } }
  }

  async reserve(s) {
    const request = { policy: s.policy, caller: { domain: s.key, client_id: 'x', region: 'y', priority: 3 }, wants: s.wants, axis: axes[s.axis ?? ''] }
    const { lease } = await this.call('Fleet', 'Reserve', request, s)
    const names = { capacity: 'capacity', safe: 'safe_capacity', limit: 'limit', expiry: 'expiry_ms', refresh: 'refresh_interval_ms', retry: 'retry_after_ms' }
    return { reserved: Object.fromEntries(Object.entries(names).map(([k, v]) => [k, Number(lease[v])])) }
  }

  async snapshot(s) {
    const { snapshot } = await this.call('Monitor', 'GetSnapshot', {}, s)
    const { meta, policies, raw_json: raw } = snapshot
    const p = policies.find((p) => p.name === s.policy)
    return {
      snapshot: {
        generated: Number(meta.generated_at),
        window: Number(meta.window_ms),
        mode: meta.mode,
        raw: JSON.parse(raw),
        policy: p
          ? { kind: p.kind, strategy: p.strategy, limit: Number(p.limit), allowed: Number(p.allowed), denied: Number(p.denied) }
          : null,
      },
    }
  }

  // Opens a stream of denials. From the header on every denial is sent.
  watch(s) {
    const metadata = new grpc.Metadata()
    metadata.set('x-monitor-secret', this.secret)
    const stream = this.any.Monitor.Watch({ policy: s.policy }, metadata, { deadline: Date.now() + 2 * patience })
    const watched = (this.watched = { stream, events: [], failed: null, moved: () => {} })
    stream.on('data', (e) => {
      watched.events.push(e.denial)
      watched.moved()
    })
    return new Promise((resolve, reject) => {
      stream.on('metadata', () => resolve({}))
      stream.on('error', (err) => {
        watched.failed = err
        watched.moved()
        reject(err)
      })
    })
  }

  // The next event of the stream about this key.
  async next(s) {
    const { watched } = this
    for (;;) {
      const e = watched.events.shift()
      if (e && e.key === s.key) {
        watched.stream.cancel()
        return {
          event: {
            at: Number(e.at),
            policy: e.policy,
            key: e.key,
            axis: e.axis,
            limit: Number(e.limit),
            remaining: Number(e.remaining),
            retry: Number(e.retry_after_ms),
          },
        }
      }
      if (!e) {
        if (watched.failed) throw watched.failed
        await new Promise((done) => (watched.moved = done))
      }
    }
  }
}

// Makes a call and emits its line.
async function measured(line, ask) {
  const wall = Date.now()
  line.begin = monotonic()
  try {
    line.reply = await ask()
  } catch (err) {
    line.error = { code: grpc.status[err.code] ?? err.name, text: err.details ?? String(err) }
  }
  line.end = monotonic()
  line.wall = [wall, Date.now()]
  emit({ call: line })
  return line.reply
}

class Runner {
  constructor(job, door) {
    this.job = job
    this.door = door
    this.stopped = false
  }

  key(test, number, step, name) {
    return step.bare ? name : `${this.job.client} ${this.job.mode} ${test.name} ${number} ${name}`
  }

  async pass(test, number) {
    const replies = {}
    for (const step of test.steps) {
      const of = (step.of ?? []).map((i) => replies[i])
      if (step.op === 'await') {
        const ends = of.filter(Boolean).map((r) => r.expires)
        if (step.window) ends.push((Math.floor(Date.now() / step.window) + 1) * step.window)
        await sleep(Math.max(0, Math.max(0, ...ends) + lag - Date.now()))
        continue
      }
      const s = { ...step, key: this.key(test, number, step, step.key), keys: (step.keys ?? []).map((k) => this.key(test, number, step, k)) }
      const leases = of.map((r) => r?.lease ?? '')
      if (s.op === 'release') {
        s.key = leases[0]
        if (!s.key) continue // there was no slot to be had
      }
      if (s.op === 'heartbeat') s.ids = [...leases.filter(Boolean), ...(s.ids ?? [])]
      const line = { case: test.name, step: s.index, pass: number, op: s.op, policy: s.policy, key: s.key }
      line.amount = s.op === 'reserve' ? s.wants : s.cost
      replies[s.index] = await measured(line, () => this.door[s.op](s))
    }
  }

  async cases(passes) {
    for (let number = 0; number < passes; number++) {
      for (const test of this.job.cases) {
        if (this.stopped && passes === Infinity) return
        await this.pass(test, number)
      }
    }
  }

  // Sends a lane's calls until told to stop, then without pauses until denied.
  async lane(lane) {
    const op = lane.op === 'hold' ? 'admit' : lane.op
    let drained = Infinity
    for (;;) {
      if (!this.stopped) await sleep(lane.every)
      else drained = Math.min(drained, Date.now() + 15000)
      const line = { lane: lane.name, op: lane.op, policy: lane.policy, key: lane.key, amount: lane.amount }
      const step = { policy: lane.policy, key: lane.key, cost: lane.amount, wants: lane.amount }
      const reply = await measured(line, () => this.door[op](step))
      if (lane.op === 'hold' && reply?.lease) {
        await sleep(lane.hold)
        await measured({ lane: lane.name, op: 'release', policy: lane.policy, key: reply.lease }, () => this.door.release({ key: reply.lease }))
      }
      if (drained !== Infinity && (lane.op === 'hold' || denied(reply) || Date.now() > drained)) return
    }
  }
}

function denied(reply) {
  if (!reply) return false
  if (reply.reserved) return reply.reserved.capacity === 0
  return !reply.decision.allowed && reply.decision.reset !== 0
}

async function main() {
  const input = createInterface({ input: process.stdin })
  const lines = input[Symbol.asyncIterator]()
  const job = JSON.parse((await lines.next()).value)
  emit({ version: require('@grpc/grpc-js/package.json').version })
  const door = new Door(job)
  const runner = new Runner(job, door)
  lines.next().then(() => (runner.stopped = true))
  const endless = job.lanes.length > 0
  const work = job.lanes.map((l) => runner.lane(l))
  work.push(runner.cases(endless ? Infinity : 2))
  await Promise.all(work)
  door.close()
  process.exit(0)
}

await main()
