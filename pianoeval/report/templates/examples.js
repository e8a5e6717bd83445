(function () {
  "use strict";
  document.querySelectorAll(".clip .roll").forEach(function (roll) {
    var audio = roll.querySelector("audio");
    var line = roll.querySelector(".playhead");
    if (!audio || !line) { return; }
    var start = Number(roll.dataset.start);
    var rate = Number(roll.dataset.rate);
    function move() {
      var x = String(start + rate * audio.currentTime);
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      if (!audio.paused && !audio.ended) { window.requestAnimationFrame(move); }
    }
    audio.addEventListener("play", function () {
      // One clip at a time: two pianos at once tell nothing.
      document.querySelectorAll(".clip audio").forEach(function (other) {
        if (other !== audio) { other.pause(); }
      });
      line.classList.add("on");
      move();
    });
    audio.addEventListener("seeked", move);
  });
})();
