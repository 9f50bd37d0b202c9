// Opens an HTML report in Chromium and compares it with the JSON report of the same run.
//
//     node page.mjs CHROMIUM run.html run.json [SCREENSHOTS]
//
// Fails when a number differs, when the console has anything to say, when the page asks for anything but images beside
// it, when an image of the gallery does not load, when the page is wider than a phone, or when axe-core has a serious
// finding in light or in dark. Waits for what it needs, and for nothing else.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';

const [chromium, page_file, json_file, screenshots] = process.argv.slice(2);
const report = JSON.parse(await readFile(json_file, 'utf8'));
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const address = pathToFileURL(path.resolve(page_file)).href;
const browser = await puppeteer.launch({ executablePath: chromium, args: ['--no-sandbox', '--allow-file-access-from-files'] });

const text = (page, selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent.replace(/\s+/g, ' ').trim()));
const grouped = (number) => number.toLocaleString('en-US');

try {
  for (const [name, width, scheme] of [['light', 1200, 'light'], ['dark', 1200, 'dark'], ['narrow', 380, 'light']]) {
    const page = await browser.newPage();
    const [said, asked] = [[], []];
    page.on('console', (message) => said.push(message.text()));
    page.on('pageerror', (error) => said.push(String(error)));
    page.on('request', (request) => asked.push([request.resourceType(), request.url()]));
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
    const begin = Date.now();
    await page.goto(address, { waitUntil: 'load' });
    const took = Date.now() - begin;

    // The numbers.
    const body = await page.$eval('body', (body) => body.textContent.replace(/\s+/g, ' '));
    const last = report.modes.at(-1);
    assert.ok(body.includes(`${grouped(last.saved)}saved, `), 'saved');
    assert.ok(body.includes(`${grouped(last.failed)}failed`), 'failed');
    for (const mode of report.modes) assert.ok(body.includes(`${mode.wall_seconds.toFixed(3)} s`), mode.mode);
    if (report.comparison) {
      assert.ok(body.includes(`${report.comparison.speed_up.toFixed(1)} ×speed-up`), 'speed-up');
      assert.ok(body.includes(`${report.comparison.sequential_seconds.toFixed(3)} sone after the other`), 'sequential');
    }
    for (const sentence of report.advice) assert.ok(body.includes(sentence), sentence);
    const hosts = await text(page, '[aria-label=Hosts] tbody tr');
    assert.equal(hosts.length, last.hosts.length);
    last.hosts.forEach((host, row) => {
      const begin = `${host.host}${grouped(host.saved)}${grouped(host.failed)}${grouped(host.requests)}`;
      assert.ok(hosts[row].replaceAll(' ', '').startsWith(begin), hosts[row]);
    });
    const kinds = await text(page, 'h3 code');
    assert.deepEqual(kinds, last.failures.map((group) => group.kind));
    const counted = (await text(page, '.charts table td:last-child')).map((count) => Number(count.replaceAll(',', '')));
    const buckets = report.modes.flatMap((mode) => mode.durations.map((bucket) => bucket.count));
    assert.deepEqual(counted, buckets);

    // Nothing leaves the page but for its images, which load once they are in view.
    for (const image of await page.$$('.gallery img')) {
      await image.scrollIntoView();
      await page.waitForFunction((image) => image.complete, { timeout: 20_000 }, image);
      const [pixels, source] = await image.evaluate((image) => [image.naturalWidth, image.getAttribute('src')]);
      assert.ok(pixels > 0, `the image ${source} does not show`);
    }
    const elsewhere = asked.filter(([kind, url]) => url !== address && !(kind === 'image' && url.startsWith('file:')));
    assert.deepEqual(elsewhere, []);
    assert.deepEqual(said, [], 'the console is silent');
    assert.equal(await page.$$eval('script', (all) => all.length), 0);

    // Nobody has to scroll sideways.
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} pixels in a window of ${width}`);

    if (screenshots) {
      await page.evaluate(() => window.scrollTo(0, 0));
      await page.screenshot({ path: path.join(screenshots, `${name}.png`), fullPage: true });
    }
    // The page's own policy keeps foreign scripts out, so axe goes in past it, last.
    await page.setBypassCSP(true);
    await page.reload({ waitUntil: 'load' });
    await page.addScriptTag({ path: axe });
    const found = await page.evaluate(() => axe.run());
    const serious = found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    const shown = serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html).join(' ')}`);
    assert.deepEqual(shown, []);
    console.log(`${name}: ${width} pixels wide, open after ${took} ms, ${found.passes.length} rules of axe-core pass`);
    await page.close();
  }
} finally {
  await browser.close();
}
