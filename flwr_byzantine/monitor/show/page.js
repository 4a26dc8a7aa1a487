document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var head = button.parentElement, body = head.closest("table").tBodies[0], at = head.cellIndex;
    var up = head.getAttribute("aria-sort") === "descending";
    head.parentElement.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    function value(row) { var cell = row.cells[at]; return cell.dataset.number === undefined ? null : Number(cell.dataset.number); }
    Array.from(body.rows).sort(function (a, b) {
      var x = value(a), y = value(b), order = x !== null && y !== null ? x - y : x !== null ? 1 : y !== null ? -1
        : b.cells[at].textContent.localeCompare(a.cells[at].textContent, undefined, { numeric: true });
      return up ? order : -order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});
