// Opens an HTML report in Chromium and compares it with the JSON report of the same run.
//
//     node page.mjs CHROMIUM run.html run.json [SCREENSHOTS]
//
// Fails when a number differs, when the console has anything to say, when the page asks for anything but images beside
// it, when an image of the gallery does not load, when a number is outside of a phone's screen, or when axe-core has a
// serious finding in light or in dark. Waits for what it needs, and for nothing else.

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
  for (const [name, width, scheme] of [['light', 1100, 'light'], ['dark', 1100, 'dark'], ['narrow', 380, 'light'], ['narrow-dark', 380, 'dark']]) {
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
    assert.equal(body.includes(`${grouped(last.refused)}refused`), last.refused > 0, 'refused');
    for (const mode of report.modes) assert.ok(body.includes(`${mode.wall_seconds.toFixed(3)} s`), mode.mode);
    if (report.comparison) {
      assert.ok(body.includes(`${report.comparison.speed_up.toFixed(1)} ×speed-up`), 'speed-up');
      assert.ok(body.includes(`${report.comparison.sequential_seconds.toFixed(3)} sone after the other`), 'sequential');
    }
    for (const sentence of report.advice) assert.ok(body.includes(sentence), sentence);
    const hosts = await text(page, '[aria-label=Hosts] tbody tr');
    assert.equal(hosts.length, last.hosts.length);
    last.hosts.forEach((host, row) => {
      const counts = [host.saved, host.refused, host.failed, host.requests];
      const begin = host.host + counts.map(grouped).join('');
      assert.ok(hosts[row].replaceAll(' ', '').startsWith(begin), hosts[row]);
      // A host that has never answered has no times.
      if (host.saved === 0) assert.ok(!/\d s/.test(hosts[row]), hosts[row]);
    });
    const ranks = last.hosts.map((host) => [host.failed, host.failed + host.refused + host.saved]);
    const sorted = [...ranks].sort(([one, rows], [other, others]) => other - one || others - rows);
    assert.deepEqual(ranks, sorted, 'the hosts with the most failures come first');
    const kinds = await text(page, '.kinds code');
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

    // Nobody has to scroll sideways: neither the page, nor a part of it. On a phone, no number is outside of the screen.
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} pixels in a window of ${width}`);
    const outside = await page.evaluate((width) => {
      const found = [];
      const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const [text, range] = [texts.currentNode, document.createRange()];
        if (!/\d/.test(text.data) || text.parentElement.closest('.sr, thead, .name')) continue;
        range.selectNodeContents(text);
        for (const { left, right, width: wide } of range.getClientRects()) {
          if (wide > 0 && (left < 0 || right > width + 0.5)) found.push(text.data);
        }
      }
      return found;
    }, width);
    assert.deepEqual(outside, [], `outside of ${width} pixels`);
    // Both ends of each axis are shown, and the ends of names, which tell them apart.
    const cut = await page.evaluate(() => {
      const isCut = (one, whole) => {
        const [inner, outer] = [one.getBoundingClientRect(), whole.getBoundingClientRect()];
        return inner.width === 0 || inner.left < outer.left - 0.5 || inner.right > outer.right + 0.5;
      };
      const axes = [...document.querySelectorAll('.scale')].flatMap((axis) => [[axis.firstElementChild, axis], [axis.lastElementChild, axis]]);
      const names = [...document.querySelectorAll('.name')].map((name) => [name.lastElementChild, name.closest('th')]);
      return [...axes, ...names].filter(([one, whole]) => isCut(one, whole)).map(([one]) => one.textContent);
    });
    assert.deepEqual(cut, []);

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
