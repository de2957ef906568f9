// Keeps the relative times of the page up to date, as the filter "ago" writes them.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
const lead = Date.now() - Date.parse(document.currentScript.dataset.now);

setInterval(() => {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - lead - Date.parse(element.dateTime)) / 1000));
    const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1);
    element.textContent = `${Math.floor(seconds / size)} ${unit} ago`;
  }
}, 1000);
