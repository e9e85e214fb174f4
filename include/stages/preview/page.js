
"use strict";
(() => {
  const video = document.getElementById("video");
  const status = document.getElementById("status");
  const source = video.dataset.hls;
  const press = (box, chosen) => {
    for (const button of box.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button === chosen));
  };
  const choices = (id, entries, chosen, choose) => {
    const box = document.getElementById(id);
    box.hidden = entries.length < 2;
    for (const old of box.querySelectorAll("button")) old.remove();
    for (const [value, label] of entries) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.setAttribute("aria-pressed", String(value === chosen));
      button.addEventListener("click", () => { choose(value); press(box, button); });
      box.append(button);
    }
  };
  const showRung = (name) => {
    for (const row of document.querySelectorAll("tr[data-row]")) row.setAttribute("aria-current", String(row.dataset.row === name));
  };

  if (window.Hls && window.Hls.isSupported()) {
    const hls = new window.Hls();
    window.preview = hls;
    const nameOf = (level) => (/video\/([^/]+)\/media\.m3u8/.exec(level.uri || level.url[0]) || [])[1];
    hls.on(window.Hls.Events.LEVEL_SWITCHED, (_, data) => {
      const level = hls.levels[data.level];
      showRung(nameOf(level));
      status.textContent = `${level.width}×${level.height} · ${level.codecSet || level.videoCodec} · ${(level.bitrate / 1e6).toFixed(2)} Mbit/s`;
    });
    hls.on(window.Hls.Events.AUDIO_TRACKS_UPDATED, (_, data) => {
      choices("audio", data.audioTracks.map((track, index) => [index, track.name]), Math.max(0, hls.audioTrack), (index) => { hls.audioTrack = index; });
    });
    hls.on(window.Hls.Events.SUBTITLE_TRACKS_UPDATED, (_, data) => {
      const tracks = data.subtitleTracks.map((track, index) => [index, track.name]);
      choices("text", [[-1, "Off"], ...tracks], hls.subtitleTrack, (index) => { hls.subtitleTrack = index; hls.subtitleDisplay = index >= 0; });
    });
    hls.on(window.Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      status.textContent = `Playback failed: ${data.details}`;
      if (data.type === window.Hls.ErrorTypes.MEDIA_ERROR) hls.recoverMediaError();
    });
    for (const button of document.querySelectorAll("#rungs button")) {
      button.addEventListener("click", () => {
        const wanted = button.dataset.rung;
        hls.nextLevel = wanted ? hls.levels.findIndex((level) => nameOf(level) === wanted) : -1;
        press(document.getElementById("rungs"), button);
      });
    }
    hls.loadSource(source);
    hls.attachMedia(video);
  } else {
    document.getElementById("rungs").hidden = true;
    video.src = source;
    if (!video.canPlayType("application/vnd.apple.mpegurl")) status.textContent = "This browser plays no HLS by itself.";
  }

  const strip = document.getElementById("strip");
  const seconds = (text) => text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
  const filmstrip = async () => {
    const answer = await fetch(strip.dataset.sprite);
    if (!answer.ok) return;
    const cues = [...(await answer.text()).matchAll(/([\d:.]+) --> ([\d:.]+)\n(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)/g)];
    const count = Math.min(10, cues.length);
    for (let place = 0; place < count && count > 1; place += 1) {
      const button = document.createElement("button");
      button.type = "button";
      let cue;
      // Never wider than its tile, or parts of the next one would show; where it is narrower the tile's middle is shown.
      const shift = () => {
        const [, , , , x, y, width] = cue;
        button.style.backgroundPosition = `${(button.clientWidth - Number(width)) / 2 - Number(x)}px ${-Number(y) - 9}px`;
      };
      // A button stands for a tenth of the title; the pointer leads through all pictures of it.
      const show = (share) => {
        cue = cues[Math.min(cues.length - 1, Math.floor((place + share) * cues.length / count))];
        const [, start, , file, , , width] = cue;
        button.title = start.replace(/\.\d+$/, "");
        button.setAttribute("aria-label", `Go to ${button.title}`);
        button.style.maxWidth = `${width}px`;
        button.style.backgroundImage = `url("images/${encodeURIComponent(file)}")`;
        shift();
      };
      show(0.5);
      button.dataset.start = String(seconds(cue[1]));
      button.addEventListener("pointermove", (event) => show(Math.min(0.999, Math.max(0, event.offsetX / button.clientWidth))));
      button.addEventListener("pointerleave", () => show(0.5));
      button.addEventListener("click", () => { video.currentTime = seconds(cue[1]); });
      strip.append(button);
      new ResizeObserver(shift).observe(button);
    }
  };
  video.addEventListener("timeupdate", () => {
    let current = null;
    for (const button of strip.children) if (Number(button.dataset.start) <= video.currentTime + 0.01) current = button;
    for (const button of strip.children) button.setAttribute("aria-current", String(button === current));
  });
  filmstrip().catch(() => { strip.hidden = true; });
})();
