// The camera of the demo: one frame at a time, each one new, none while the page is hidden.

const WIDTH = 640;

/** Say why the camera does not start. */
export function cameraReason(error) {
  const reasons = {
    NotAllowedError: "The browser does not allow this page the camera.",
    NotFoundError: "There is no camera.",
    NotReadableError: "Another program uses the camera.",
    TypeError: "This browser gives pages no camera.",
  };
  return reasons[error.name] || `The camera does not start: ${error.name}.`;
}

export class Camera {
  constructor() {
    this.stream = null;
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    // Two in turn: the frame that is shown stays as it was while the next one is asked about.
    this.canvases = [document.createElement("canvas"), document.createElement("canvas")];
  }

  /** Start the camera, or throw what {@link cameraReason} explains. */
  async open() {
    this.close();
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { width: { ideal: WIDTH }, height: { ideal: 480 }, facingMode: "user" },
    });
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  close() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }

  /** Yield frames until the camera is closed or ends: a canvas, when it was taken, and its JPEG. */
  async *frames() {
    const { stream, video } = this;
    while (this.stream === stream && stream.active) {
      await this.fresh();
      if (this.stream !== stream || !video.videoWidth) continue;
      const begun = performance.now();
      const canvas = this.canvases.reverse()[0];
      const scale = Math.min(1, WIDTH / video.videoWidth);
      canvas.width = Math.round(scale * video.videoWidth);
      canvas.height = Math.round(scale * video.videoHeight);
      canvas.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, canvas.width, canvas.height);
      const picture = new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.92); });
      yield { canvas, begun, picture };
    }
  }

  /** Wait for a frame that has not been seen; a hidden page waits until it is shown. */
  async fresh() {
    if (document.hidden) {
      await new Promise((resolve) => { document.addEventListener("visibilitychange", resolve, { once: true }); });
    }
    await new Promise((resolve) => {
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(resolve);
      else window.requestAnimationFrame(resolve);
      window.setTimeout(resolve, 1000);
    });
  }
}
