// Calls of npm's twilio, one JSON line each: run by tests/interop/sdks.py in the SDK's own folder.
// As sdk_driver.py; `types` is the file in which the SDK declares the class of the result.

const readline = require("readline");
const { createRequire } = require("module");

const [folder, sandbox, username, password, account] = process.argv.slice(2);
const load = createRequire(`${folder}/index.js`);
const twilio = load("twilio");
const RequestClient = load("twilio/lib/base/RequestClient");

/** Sends every request to the sandbox, whatever its host, and records the responses. */
class RecordingClient extends RequestClient {
  exchanges = [];

  async request(options) {
    const { pathname, search } = new URL(options.uri);
    const response = await super.request({ ...options, uri: sandbox + pathname + search });
    const text = typeof response.body === "string" ? response.body : JSON.stringify(response.body);
    const headers = { ...response.headers };
    this.exchanges.push({ method: options.method.toUpperCase(), path: pathname, status: response.statusCode, text, headers });
    return response;
  }
}

const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const lowerFirst = (name) => name.charAt(0).toLowerCase() + name.slice(1);
const field = (name) => lowerFirst(name.replaceAll("-", "").split(".").map(lowerFirst).join("."));

/** Follow a path: texts are attributes, lists the arguments of a call. */
function find(root, path) {
  let owner;
  for (const step of path) {
    const next = Array.isArray(step) ? root.call(owner, ...step) : root[camel(step)];
    if (next === undefined) throw new TypeError(`no ${step}`);
    [owner, root] = [root, next];
  }
  return root;
}

function plain(value) {
  if (value instanceof Date) return { $time: value.toISOString().replace(/\.\d+Z$/, "Z") };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => !name.startsWith("_")).map(([k, v]) => [k, plain(v)]));
}

/** The file of type declarations that belongs to the class of a value. */
function typesOf(value) {
  const one = Array.isArray(value) ? value[0] : value;
  if (one === null || typeof one !== "object") return null;
  const name = one.constructor.name;
  const module = Object.values(require.cache).find((each) => each.exports?.[name] === one.constructor);
  return module ? { file: module.filename.replace(/\.js$/, ".d.ts"), name } : null;
}

async function run(client, call) {
  let resource, method;
  try {
    resource = find(client, call.path);
    method = resource[call.verb === "delete" ? "remove" : call.verb];
  } catch (error) {
    return { absent: error.message };
  }
  if (method === undefined) return { absent: `no ${call.verb}` };
  const fields = Object.entries(call.fields).map(([name, value]) => [field(name), value]);
  // beside a body, the only fields are headers
  const given = call.model ? [call.body, call.fields] : fields.length ? [Object.fromEntries(fields)] : [];
  try {
    const found = await method.call(resource, ...given);
    return { seen: plain(found), types: typesOf(found) };
  } catch (error) {
    if (error.status === undefined) return { crash: `${error.name}: ${error.message}` };
    return { error: { type: error.constructor.name, status: error.status, code: error.code ?? null } };
  }
}

async function main() {
  const httpClient = new RecordingClient({ timeout: 30000 });
  const client = twilio(username, password, { accountSid: account, httpClient });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    httpClient.exchanges = [];
    const answer = await run(client, JSON.parse(line));
    process.stdout.write(JSON.stringify({ ...answer, exchanges: httpClient.exchanges }) + "\n");
  }
}

main();
