"""What English calls units, currencies, months and the words it abbreviates.

The tables are text, several symbols to one reading, because that is how they are checked by eye.
"""

from __future__ import annotations

from typing import Dict, Tuple


def table(text: str) -> Dict[str, Tuple[str, ...]]:
    """Symbol to readings, from entries ``symbol symbol = reading, reading`` separated by semicolons."""
    entries: Dict[str, Tuple[str, ...]] = {}
    for entry in text.split(";"):
        symbols, _, readings = entry.partition(" = ")
        for symbol in symbols.split():
            entries[symbol] = tuple(reading.strip() for reading in readings.split(","))
    return entries


UNITS = table("""
km/h kph = kilometer per hour, kilometers per hour; mph = mile per hour, miles per hour;
m/s = meter per second, meters per second; m/s² = meter per second squared, meters per second squared;
rpm = revolution per minute, revolutions per minute; fps = frame per second, frames per second;
Mbps = megabit per second, megabits per second; Gbps = gigabit per second, gigabits per second;
kbps = kilobit per second, kilobits per second; MB/s = megabyte per second, megabytes per second;
GB/s = gigabyte per second, gigabytes per second; kg = kilogram, kilograms; g = gram, grams;
mg = milligram, milligrams; μg µg = microgram, micrograms; lb lbs = pound, pounds; oz = ounce, ounces;
km = kilometer, kilometers; m = meter, meters; cm = centimeter, centimeters; mm = millimeter, millimeters;
μm µm = micrometer, micrometers; nm = nanometer, nanometers; mi = mile, miles; ft = foot, feet; yd = yard, yards;
km² km2 = square kilometer, square kilometers; m² m2 = square meter, square meters;
cm² = square centimeter, square centimeters; mm² = square millimeter, square millimeters;
m³ m3 = cubic meter, cubic meters; cm³ = cubic centimeter, cubic centimeters; ha = hectare, hectares;
L l = liter, liters; mL ml = milliliter, milliliters; ms = millisecond, milliseconds;
ns = nanosecond, nanoseconds; μs = microsecond, microseconds; s sec secs = second, seconds;
min mins = minute, minutes; h hr hrs = hour, hours; Hz = hertz, hertz; kHz = kilohertz, kilohertz;
MHz = megahertz, megahertz; GHz = gigahertz, gigahertz; dB = decibel, decibels; V = volt, volts;
kV = kilovolt, kilovolts; mV = millivolt, millivolts; W = watt, watts; kW = kilowatt, kilowatts;
MW = megawatt, megawatts; GW = gigawatt, gigawatts; kWh = kilowatt hour, kilowatt hours;
mA = milliampere, milliamperes; mAh = milliampere hour, milliampere hours; Ω = ohm, ohms; kΩ = kilohm, kilohms;
Pa = pascal, pascals; kPa = kilopascal, kilopascals; MPa = megapascal, megapascals;
kcal = kilocalorie, kilocalories; J = joule, joules; kJ = kilojoule, kilojoules; KB kB = kilobyte, kilobytes;
MB = megabyte, megabytes; GB = gigabyte, gigabytes; TB = terabyte, terabytes; px = pixel, pixels;
°C = degree Celsius, degrees Celsius; °F = degree Fahrenheit, degrees Fahrenheit; ° = degree, degrees;
ppm = part per million, parts per million; % = percent, percent; ‰ = per mille, per mille;
mg/L = milligram per liter, milligrams per liter; mpg = mile per gallon, miles per gallon
""")
"""Symbol to its singular and plural."""

CURRENCIES = table("""
$ = dollar, dollars, cent, cents; US$ USD = US dollar, US dollars, cent, cents;
A$ AUD = Australian dollar, Australian dollars, cent, cents;
C$ CAD = Canadian dollar, Canadian dollars, cent, cents;
HK$ HKD = Hong Kong dollar, Hong Kong dollars, cent, cents; € EUR = euro, euros, cent, cents;
£ GBP = pound, pounds, penny, pence; ¥ CNY RMB = yuan, yuan, fen, fen; JPY = yen, yen, sen, sen;
₹ INR = rupee, rupees, paisa, paise; ₩ = won, won, jeon, jeon;
CHF = Swiss franc, Swiss francs, centime, centimes; ₽ = ruble, rubles, kopeck, kopecks;
฿ = baht, baht, satang, satang
""")
"""Sign or code to one, many, one hundredth, many hundredths."""

MONTHS = {
    short: name
    for short, (name,) in table("""
jan = january; feb = february; mar = march; apr = april; may = may; jun = june; jul = july; aug = august;
sep sept = september; oct = october; nov = november; dec = december
""").items()
}
"""Short names in lower case to full names in lower case."""

MONTH_NAMES: Tuple[str, ...] = ("", *dict.fromkeys(MONTHS.values()))
"""Full names by number; nothing has the number 0."""

DAYS = {
    short: name
    for short, (name,) in table("""
Mon = Monday; Tue Tues = Tuesday; Wed = Wednesday; Thu Thur Thurs = Thursday; Fri = Friday; Sat = Saturday;
Sun = Sunday
""").items()
}

ABBREVIATIONS = {
    short: name
    for short, (name,) in table("""
Mr. = Mister; Mrs. = Missus; Ms. = Miz; Dr. = Doctor; Prof. = Professor; St. = Saint; Mt. = Mount;
Gen. = General; Col. = Colonel; Sgt. = Sergeant; Capt. = Captain; Lt. = Lieutenant; Maj. = Major;
Rev. = Reverend; Hon. = Honorable; Sen. = Senator; Rep. = Representative; Gov. = Governor; Pres. = President;
Jr. = Junior; Sr. = Senior; Inc. = Incorporated; Ltd. = Limited; Co. = Company; Corp. = Corporation;
Bros. = Brothers; Dept. = Department; Univ. = University; Apt. = Apartment; apt. = apartment; Ave. = Avenue;
Blvd. = Boulevard; Rd. = Road; Expy = Expressway; Ste. = Suite; vs. vs = versus; etc. = etcetera;
e.g. = for example; i.e. = that is; approx. = approximately; est. = established; Fig. = Figure; fig. = figure;
Figs. = Figures; Vol. = Volume; vol. = volume; Ch. = Chapter; Sec. = Section; pp. = pages; Eq. = Equation;
Ph.D. Ph.D PhD = P H D; w/o = without; w/ = with; a.k.a. = also known as; c/o = care of; B.C. B.C = B C;
A.D. = A D; cf. = compare; No. = Number; no. = number; Nos. = Numbers
""").items()
}
"""Short to long; short ones with a full stop own it."""

STATES = {
    code: name
    for code, (name,) in table("""
AL = Alabama; AK = Alaska; AZ = Arizona; AR = Arkansas; CA = California; CO = Colorado; CT = Connecticut;
DE = Delaware; FL = Florida; GA = Georgia; HI = Hawaii; ID = Idaho; IL = Illinois; IN = Indiana; IA = Iowa;
KS = Kansas; KY = Kentucky; LA = Louisiana; ME = Maine; MD = Maryland; MA = Massachusetts; MI = Michigan;
MN = Minnesota; MS = Mississippi; MO = Missouri; MT = Montana; NE = Nebraska; NV = Nevada; NH = New Hampshire;
NJ = New Jersey; NM = New Mexico; NY = New York; NC = North Carolina; ND = North Dakota; OH = Ohio;
OK = Oklahoma; OR = Oregon; PA = Pennsylvania; RI = Rhode Island; SC = South Carolina; SD = South Dakota;
TN = Tennessee; TX = Texas; UT = Utah; VT = Vermont; VA = Virginia; WA = Washington; WV = West Virginia;
WI = Wisconsin; WY = Wyoming; DC = D C
""").items()
}

STATE_WORDS = frozenset(("OK", "HI", "OH", "ME", "IN", "OR", "LA", "ID", "MS"))
"""Codes that are also words: read as states only before a post code."""
