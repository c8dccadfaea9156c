package value

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/bridgepb"
)

// DateTime is a date and a time of day as they travel: what time.Time cannot hold, such as one without a time zone.
type DateTime struct {
	// ISO is ISO 8601, with the offset if there is one: "2026-03-01T12:30:00".
	ISO string
	// Zone is the IANA name of the time zone; empty for a fixed offset or none.
	Zone string
	// Fold is set for the second of two equal local times.
	Fold bool
	// OffsetName is the name of a fixed offset, such as "CET"; empty if its name is only the offset.
	OffsetName string
}

// Time returns the moment. A DateTime without a zone and an offset is one in the location that is given; nil: it is an
// error then.
func (d DateTime) Time(location *time.Location) (time.Time, error) {
	at, err := parseDateTime(d.ISO)
	if err != nil {
		return time.Time{}, err
	}
	if d.Zone != "" {
		if location, err = loadZone(d.Zone); err != nil {
			return time.Time{}, err
		}
	} else if at.offset != nil {
		location = at.offset.location(d.OffsetName)
	}
	if location == nil {
		return time.Time{}, errorf("the datetime %s has no time zone; receive it as a value.DateTime", d.ISO)
	}
	return at.in(location, d.Fold), nil
}

// Date is a day of the calendar.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// String returns ISO 8601, such as "2026-03-01".
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// TimeOfDay is a time of day as it travels, such as "12:30:00" or "12:30:00.000001+02:00".
type TimeOfDay struct {
	// ISO is ISO 8601, with the offset if there is one.
	ISO string
	// Zone, Fold and OffsetName are as in DateTime.
	Zone       string
	Fold       bool
	OffsetName string
}

// Delta is a difference between two moments that a time.Duration cannot hold: more than 292 years.
type Delta struct {
	// Days may be negative; the rest is counted forward from it.
	Days int
	// Seconds is 0 to 86,399.
	Seconds int
	// Microseconds is 0 to 999,999.
	Microseconds int
}

const (
	secondsOfDay = 86_400
	maxDays      = 999_999_999
	maxName      = 100
)

func deltaOf(d time.Duration) Delta {
	micros := floorDiv(int64(d), 1000)
	days := floorDiv(micros, secondsOfDay*1_000_000)
	micros -= days * secondsOfDay * 1_000_000
	return Delta{Days: int(days), Seconds: int(micros / 1_000_000), Microseconds: int(micros % 1_000_000)}
}

func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

// readDelta returns a time.Duration, or a Delta where that is too short.
func readDelta(message *pb.RichDelta) (any, error) {
	seconds := int64(message.Seconds) + floorDiv(int64(message.Microseconds), 1_000_000)
	micros := int64(message.Microseconds) - floorDiv(int64(message.Microseconds), 1_000_000)*1_000_000
	days := int64(message.Days) + floorDiv(seconds, secondsOfDay)
	seconds -= floorDiv(seconds, secondsOfDay) * secondsOfDay
	if days < -maxDays || days > maxDays {
		return nil, errorf("a timedelta of %d days is too long: it may have %d", days, maxDays)
	}
	// A margin of a day keeps the product within 64 bits.
	if whole := math.MaxInt64 / int64(24*time.Hour); days < whole && days > -whole {
		return time.Duration(days)*24*time.Hour + time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond, nil
	}
	return Delta{Days: int(days), Seconds: int(seconds), Microseconds: int(micros)}, nil
}

// ----------------------------------------------------------------------------------------------- reading ISO 8601

// offset is a fixed offset from UTC.
type offset struct{ seconds, micros int }

func (o *offset) location(name string) *time.Location {
	if o.seconds == 0 && o.micros == 0 && (name == "" || name == "UTC") {
		return time.UTC
	}
	return time.FixedZone(name, o.seconds)
}

// local is a date and a time of day, with an offset if there is one.
type local struct {
	date                         Date
	hour, minute, second, micros int
	offset                       *offset
}

func parseDate(text string) (Date, error) {
	if len(text) == 10 && text[4] == '-' && text[7] == '-' && allDigits(text[:4]+text[5:7]+text[8:]) {
		year, _ := strconv.Atoi(text[:4])
		month, _ := strconv.Atoi(text[5:7])
		day, _ := strconv.Atoi(text[8:])
		date := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
		if year >= 1 && date.Month() == time.Month(month) && date.Day() == day {
			return Date{year, time.Month(month), day}, nil
		}
	}
	return Date{}, errorf("%.60q is not a date, such as 2026-03-01", text)
}

func parseDateTime(text string) (local, error) {
	if len(text) < 16 || (text[10] != 'T' && text[10] != ' ') {
		return local{}, errorf("%.60q is not a datetime, such as 2026-03-01T12:30:00", text)
	}
	date, err := parseDate(text[:10])
	if err != nil {
		return local{}, err
	}
	at, err := parseTime(text[11:])
	at.date = date
	return at, err
}

func parseTime(text string) (local, error) {
	at := local{}
	clock, zone := text, ""
	if i := strings.IndexAny(text, "+-Z"); i >= 0 {
		clock, zone = text[:i], text[i:]
	}
	var ok bool
	if at.hour, at.minute, at.second, at.micros, ok = parseClock(clock); !ok || at.hour > 23 {
		return at, errorf("%.60q is not a time of day, such as 12:30:00", text)
	}
	if zone == "Z" {
		at.offset = &offset{}
	} else if zone != "" {
		hours, minutes, seconds, micros, ok := parseClock(zone[1:])
		if !ok || hours > 23 {
			return at, errorf("%.60q has no valid offset, such as +01:00", text)
		}
		at.offset = &offset{seconds: hours*3600 + minutes*60 + seconds, micros: micros}
		if zone[0] == '-' {
			at.offset = &offset{seconds: -at.offset.seconds, micros: -micros}
		}
	}
	return at, nil
}

// parseClock reads HH:MM, HH:MM:SS or HH:MM:SS.ffffff.
func parseClock(text string) (hours, minutes, seconds, micros int, ok bool) {
	if len(text) >= 10 && len(text) <= 15 && text[8] == '.' && allDigits(text[9:]) {
		micros, _ = strconv.Atoi((text[9:] + "000000")[:6])
		text = text[:8]
	}
	if len(text) == 5 {
		text += ":00"
	}
	if len(text) != 8 || text[2] != ':' || text[5] != ':' || !allDigits(text[:2]+text[3:5]+text[6:]) {
		return 0, 0, 0, 0, false
	}
	hours, _ = strconv.Atoi(text[:2])
	minutes, _ = strconv.Atoi(text[3:5])
	seconds, _ = strconv.Atoi(text[6:])
	return hours, minutes, seconds, micros, minutes < 60 && seconds < 60
}

// in returns the moment of a local time in a location; of two equal local times the second if fold is set.
func (at *local) in(location *time.Location, fold bool) time.Time {
	naive := time.Date(at.date.Year, at.date.Month, at.date.Day, at.hour, at.minute, at.second, at.micros*1000, time.UTC)
	_, before := naive.Add(-24 * time.Hour).In(location).Zone()
	_, after := naive.Add(24 * time.Hour).In(location).Zone()
	first, second := max(before, after), min(before, after)
	earlier := naive.Add(-time.Duration(first) * time.Second).In(location)
	later := naive.Add(-time.Duration(second) * time.Second).In(location)
	isEarlier, isLater := sameClock(earlier, naive), sameClock(later, naive)
	switch {
	case isEarlier && isLater && fold, !isEarlier && isLater:
		return later
	case isEarlier:
		return earlier
	}
	// A local time that the clock skipped, or one near two changes.
	return time.Date(naive.Year(), naive.Month(), naive.Day(), naive.Hour(), naive.Minute(), naive.Second(), naive.Nanosecond(), location)
}

func sameClock(a, b time.Time) bool {
	return a.Hour() == b.Hour() && a.Minute() == b.Minute() && a.Second() == b.Second() && a.YearDay() == b.YearDay()
}

var zones sync.Map // string -> *time.Location

// loadZone returns a time zone by its IANA name.
func loadZone(name string) (*time.Location, error) {
	if found, ok := zones.Load(name); ok {
		return found.(*time.Location), nil
	}
	if len(name) > maxName || name == "Local" {
		return nil, errorf("%.40q is not the name of a time zone", name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, errorf("the time zone %q is not known here; import time/tzdata, or install the system's tzdata", name)
	}
	zones.Store(name, location)
	return location, nil
}

// ------------------------------------------------------------------------------------------------------- both ways

// readDateTime returns a time.Time if that holds all of it, else a DateTime.
func readDateTime(message *pb.RichDateTime) (any, error) {
	kept := DateTime{ISO: message.Iso, Zone: message.Zone, Fold: message.Fold, OffsetName: message.OffsetName}
	if err := checkZone(kept.Zone, kept.OffsetName); err != nil {
		return nil, err
	}
	at, err := parseDateTime(kept.ISO)
	if err != nil {
		return nil, err
	}
	if kept.Zone == "" && at.offset == nil {
		return kept, nil
	}
	moment, err := kept.Time(nil)
	if err != nil {
		return nil, err
	}
	if written, err := writeTime(moment); err == nil && written == kept {
		return moment, nil
	}
	return kept, nil
}

func readTimeOfDay(message *pb.RichDateTime) (any, error) {
	if err := checkZone(message.Zone, message.OffsetName); err != nil {
		return nil, err
	}
	if _, err := parseTime(message.Iso); err != nil {
		return nil, err
	}
	return TimeOfDay{ISO: message.Iso, Zone: message.Zone, Fold: message.Fold, OffsetName: message.OffsetName}, nil
}

func checkZone(zone, offsetName string) error {
	if len(offsetName) > maxName {
		return errorf("%.40q… is not the name of an offset", offsetName)
	}
	if zone == "" {
		return nil
	}
	_, err := loadZone(zone)
	return err
}

// writeTime writes a moment, to the microsecond.
func writeTime(t time.Time) (DateTime, error) {
	if t.Year() < 1 || t.Year() > 9999 {
		return DateTime{}, errorf("the year %d cannot travel: it must be 1 to 9999", t.Year())
	}
	abbreviation, seconds := t.Zone()
	written := DateTime{ISO: t.Format("2006-01-02T15:04:05") + fraction(t.Nanosecond()/1000) + offsetText(seconds)}
	name := t.Location().String()
	start, end := t.ZoneBounds()
	isFixed := start.IsZero() && end.IsZero() && abbreviation == name
	switch {
	case t.Location() == time.UTC, name == "Local", name == "":
	case isFixed && name != "UTC"+offsetText(seconds):
		written.OffsetName = name
	case !isFixed:
		written.Zone = name
		written.Fold = isSecond(t, start, seconds)
	}
	return written, nil
}

// isSecond reports whether a moment is the second of two with its local time: the clock was set back shortly before.
func isSecond(t, start time.Time, seconds int) bool {
	if start.IsZero() {
		return false
	}
	_, before := start.Add(-time.Nanosecond).Zone()
	return t.Sub(start) < time.Duration(before-seconds)*time.Second
}

func fraction(micros int) string {
	if micros == 0 {
		return ""
	}
	return fmt.Sprintf(".%06d", micros)
}

func offsetText(seconds int) string {
	sign := '+'
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	text := fmt.Sprintf("%c%02d:%02d", sign, seconds/3600, seconds/60%60)
	if seconds%60 != 0 {
		text += fmt.Sprintf(":%02d", seconds%60)
	}
	return text
}
