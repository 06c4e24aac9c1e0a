// Search runs in a worker, and browsers start none from the disk: there it runs in a frame.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inner = new Promise(loaded => {
        const script = frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = () => loaded(inner);
        frame.contentDocument.body.append(script);
      });
    }

    postMessage(data) {
      this.inner.then(inner => inner.dispatchEvent(new inner.MessageEvent("message", { data })));
    }
  };
}
