// Reads a set with strict parsers: node strict.cjs FOLDER. Prints what they found as JSON; any objection is an error.
const { readFileSync, existsSync, readdirSync } = require("node:fs");
const path = require("node:path");
const modules = path.join(__dirname, "..", "..", "node_modules");
const HLS = require(path.join(modules, "hls-parser"));
const mpd = require(path.join(modules, "mpd-parser"));

const folder = process.argv[2];
HLS.setOptions({ strictMode: true });
const read = (name) => readFileSync(path.join(folder, name), "utf8");

const master = HLS.parse(read("hls.m3u8"));
const media = [];
const follow = (uri) => {
  const playlist = HLS.parse(read(uri));
  media.push({
    uri,
    target: playlist.targetDuration,
    type: playlist.playlistType,
    iframes: Boolean(playlist.isIFrame),
    ended: playlist.endlist,
    durations: playlist.segments.map((segment) => segment.duration),
  });
};
const seen = new Set();
for (const variant of master.variants) {
  for (const each of [variant, ...variant.audio, ...variant.subtitles]) if (!seen.has(each.uri)) { seen.add(each.uri); follow(each.uri); }
}

const warnings = [];
const manifest = mpd.parse(read("dash.mpd"), { manifestUri: "http://set/dash.mpd", eventHandler: ({ type, message }) => { if (type === "warn") warnings.push(message); } });
const here = (uri) => existsSync(path.join(folder, uri.replace("http://set/", "")));
const groups = manifest.mediaGroups;
const all = [
  ...manifest.playlists,
  ...Object.values(groups.AUDIO.audio || {}).flatMap((each) => each.playlists),
  ...Object.values(groups.SUBTITLES.subs || {}).flatMap((each) => each.playlists),
];
console.log(JSON.stringify({
  version: master.version,
  independent: master.independentSegments,
  variants: master.variants.filter((each) => !each.isIFrameOnly).map((each) => ({
    uri: each.uri, bandwidth: each.bandwidth, average: each.averageBandwidth, codecs: each.codecs,
    resolution: each.resolution, frameRate: each.frameRate,
    audio: each.audio.map((track) => [track.language, track.name, track.isDefault, track.channels]),
    subtitles: each.subtitles.map((track) => [track.language, track.name]),
  })),
  iframes: master.variants.filter((each) => each.isIFrameOnly).map((each) => ({ uri: each.uri, bandwidth: each.bandwidth, average: each.averageBandwidth })),
  media,
  dash: {
    duration: manifest.duration,
    warnings,
    playlists: manifest.playlists.map((each) => ({ ...each.attributes, segments: each.segments.length })),
    missing: all.flatMap((each) => [each.segments.map((segment) => segment.resolvedUri), each.segments.map((segment) => segment.map && segment.map.resolvedUri)].flat()).filter((uri) => uri && !here(uri)),
  },
}));
