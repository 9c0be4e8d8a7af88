// rude.mjs ADDRESS: behaves towards a Parlor node as no copy of Parlor would, on every protocol that it offers, and tells
// in lines of JSON what came of it: `fate` is `unsupported`, `ended` or `reset`; `answer` how many bytes came back.
import { multiaddr } from '@multiformats/multiaddr'
import { encode } from 'cborg'
import { say, start } from './node.mjs'

// Small enough for all of them to read.
const malformed = {
  garbage: new Uint8Array(64).fill(0xff),
  nested: new Uint8Array(1000).fill(0x81), // arrays within arrays, for readers that recurse
  boastful: Uint8Array.of(0x9b, ...new Uint8Array(8).fill(0xff)), // 2^64 - 1 items are to come, for readers that reserve
  truncated: encode({ programs: 1 }).subarray(0, 5),
  empty: new Uint8Array()
}

const node = await start()
const identified = new Promise((resolve) => node.addEventListener('peer:identify', ({ detail }) => resolve(detail)))
const connection = await node.dial(multiaddr(process.argv[2]))
const protocols = (await identified).protocols.filter((name) => name.startsWith('/parlor/'))

/** Opens a stream, does something to it, and waits until the other side ends it. */
const misdeed = async (what, protocol, act) => {
  let fate = 'ended'
  let answer = 0
  try {
    const stream = await connection.newStream(protocol)
    await act(stream)
    for await (const part of stream) answer += part.byteLength
  } catch (error) {
    fate = { UnsupportedProtocolError: 'unsupported', StreamResetError: 'reset' }[error.name]
    if (fate == null) throw error
  }
  say('misdeed', { what, protocol, fate, answer, connection: connection.status })
}

const send = (bytes) => async (stream) => {
  if (bytes.length > 0) stream.send(bytes)
  await stream.close()
}

await misdeed('unknown', '/parlor/catalog/999', send(encode({})))
await misdeed('oversized', '/parlor/catalog/1', send(encode({ padding: new Uint8Array(64 * 1024) })))
for (const protocol of protocols) {
  for (const [what, bytes] of Object.entries(malformed)) await misdeed(what, protocol, send(bytes))
}
say('waiting')
await Promise.all(protocols.map((protocol) => misdeed('unused', protocol, () => {})))
say('done')
await node.stop()
