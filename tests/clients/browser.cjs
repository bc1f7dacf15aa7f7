// A page of a headless Chromium for tests/src/browser.rs: a command in JSON on each line of stdin, an answer on stdout.
// argv: the browser's program.
const { chromium } = require("playwright-core");
const readline = require("node:readline");
const timers = require("node:timers/promises");

const PATIENCE = { timeout: 20_000 };

const commands = {
  open: ({ open }, page) => page.goto(open, PATIENCE).then(() => null),
  evaluate: ({ evaluate }, page) => page.evaluate(evaluate),
  // Asked from here: what waits within a page needs `eval`, which the policy of a page forbids.
  until: async ({ until }, page) => {
    for (const end = Date.now() + PATIENCE.timeout; Date.now() < end; await timers.setTimeout(20)) {
      const value = await page.evaluate(until);
      if (value) return value;
    }
    throw new Error("did not come true");
  },
  fill: ({ fill, text }, page) => page.fill(fill, text, PATIENCE),
  click: ({ click }, page) => page.click(click, PATIENCE),
};

async function main() {
  const browser = await chromium.launch({
    executablePath: process.argv[2],
    chromiumSandbox: process.getuid() !== 0,
    args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.log(`page error: ${error}`));
  page.on("console", (message) => console.log(`console: ${message.text()}`));
  console.log("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    let answer;
    try {
      answer = { value: (await commands[Object.keys(command)[0]](command, page)) ?? null };
    } catch (error) {
      answer = { error: String(error) };
    }
    console.log(`answer ${JSON.stringify(answer)}`);
  }
  await browser.close();
}

main();
