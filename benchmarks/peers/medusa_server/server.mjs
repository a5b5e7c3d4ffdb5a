// Holds stock with Medusa's inventory module under its locking module, as Medusa's own step of a
// checkout does: lock the items, create their reservations, let go. No framework of a shop around it.
//
//     node server.mjs PORT DATABASE_URL
//
// POST /v1/holds   what onhand takes: 201 once the reservations are committed, 409 when the module
//                  says that there is not enough, 500 for anything else
// PUT /stock       [{"sku", "location", "units"}]: an item with one level each
// GET /stock?sku=  how many units of each SKU asked for can still be reserved
import { createServer } from "node:http"
import { createRequire } from "node:module"

const require = createRequire(import.meta.url)
const { MedusaApp } = require("@medusajs/framework/modules-sdk")
const { ContainerRegistrationKeys, Modules, ModulesSdkUtils } = require("@medusajs/framework/utils")

const [port, clientUrl] = process.argv.slice(2)
// A reservation takes two connections, one of which waits for the lock: with fewer than two for each
// client all could wait for one another.
const pool = { min: 2, max: 90 }
const provider = { id: "locking-postgres", resolve: "@medusajs/locking-postgres", is_default: true }
const app = await MedusaApp({
  modulesConfig: {
    [Modules.INVENTORY]: { resolve: "@medusajs/inventory" },
    [Modules.LOCKING]: { resolve: "@medusajs/locking", options: { providers: [provider] } },
  },
  injectedDependencies: {
    [ContainerRegistrationKeys.PG_CONNECTION]: ModulesSdkUtils.createPgConnection({ clientUrl, pool }),
  },
  sharedResourcesConfig: { database: { clientUrl, pool } },
})
await app.runMigrations()
await app.onApplicationStart()
const inventory = app.modules[Modules.INVENTORY]
const locking = app.modules[Modules.LOCKING]

async function hold({ lines }) {
  const items = lines.map(({ sku, location, quantity }) => ({
    inventory_item_id: sku,
    location_id: location,
    quantity,
  }))
  try {
    const keys = items.map((item) => item.inventory_item_id)
    const made = await locking.execute(keys, () => inventory.createReservationItems(items))
    return [201, made]
  } catch (error) {
    return [error.type === "not_allowed" ? 409 : 500, { detail: error.message }]
  }
}

async function putStock(stock) {
  await inventory.createInventoryItems(stock.map(({ sku }) => ({ id: sku, sku })))
  const levels = stock.map(({ sku, location, units }) => ({
    inventory_item_id: sku,
    location_id: location,
    stocked_quantity: units,
  }))
  await inventory.createInventoryLevels(levels)
  return [200, {}]
}

async function readStock(skus) {
  const levels = await inventory.listInventoryLevels({ inventory_item_id: skus })
  const left = levels.map((each) => [each.inventory_item_id, each.stocked_quantity - each.reserved_quantity])
  return [200, Object.fromEntries(left)]
}

async function answer(request) {
  const address = new URL(request.url, "http://server")
  if (request.method === "GET") {
    return readStock(address.searchParams.getAll("sku"))
  }
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = JSON.parse(Buffer.concat(chunks))
  return request.method === "PUT" ? putStock(body) : hold(body)
}

createServer(async (request, response) => {
  const [status, body] = await answer(request).catch((error) => [500, { detail: String(error) }])
  const text = JSON.stringify(body)
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) })
  response.end(text)
}).listen(Number(port), "127.0.0.1")
